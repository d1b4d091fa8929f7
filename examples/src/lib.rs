// SPDX-License-Identifier: Apache-2.0
//! Runnable examples of the Device API; see the files beside this folder.
