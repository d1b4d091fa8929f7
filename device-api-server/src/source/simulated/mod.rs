// SPDX-License-Identifier: Apache-2.0
//! A driver that is played from a scenario, for demonstrations, tests, and laptops.
