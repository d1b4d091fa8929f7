// SPDX-License-Identifier: Apache-2.0
//! The rules of a chart, each by its name.
