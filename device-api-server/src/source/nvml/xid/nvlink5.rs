// SPDX-License-Identifier: Apache-2.0
//! What the numbers in the kernel's log say of XIDs 144 to 150: errors of NVLink 5.
//!
//! NVML tells of such an XID its number only; the kernel's log has the unit, `IntrInfo` and the error status, by which most
//! of them are to be ignored. This source does not read that log: [`decode`] is for providers that do.

use std::fmt;

use super::action::Action::{self, *};

/// What one of these XIDs was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decoded {
    /// The unit that reported it, as the kernel's log names it.
    pub unit: &'static str,
    /// What to do about it.
    pub action: Action,
    /// How bad it is, as the catalogue has it, such as `Non-fatal`.
    pub severity: &'static str,
}

/// What an XID from 144 to 150 was about, from the first two numbers behind it in the kernel's log; `branch` is the driver's,
/// such as 580. `None`: the catalogue does not say.
///
/// ```
/// use device_api_server::source::nvml::xid::{Action, nvlink5};
///
/// // NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT Fatal XC0 i0 Link 08 (0x004505c6 0x00000000 …), of R570.
/// let decoded = nvlink5::decode(149, 0x0045_05c6, 0, 570).unwrap();
/// assert_eq!((decoded.unit, decoded.action), ("NETIR_LINK_EVT/NETIR_LINK_DOWN", Action::ResetGpu));
/// assert_eq!(nvlink5::decode(79, 0, 0, 570), None);
/// ```
#[must_use]
pub fn decode(xid: u32, intr_info: u32, error_status: u32, branch: u32) -> Option<Decoded> {
    let units = UNITS.iter().filter(|unit| {
        let low = if branch < RENUMBERED { unit.old } else { unit.new };
        unit.xid == xid && matches(low, intr_info)
    });
    let cases = units.flat_map(|unit| unit.cases.iter().map(move |case| (unit, case)));
    let mut cases = cases.filter(|(_, case)| case.kinds.contains(&(intr_info >> KIND_SHIFT & KIND_MASK)));
    let found = cases.find(|(_, case)| case.statuses.is_empty() || case.statuses.contains(&error_status));
    found.map(|(unit, case)| Decoded { unit: unit.name, action: case.action, severity: case.severity })
}

/// The catalogue's table for an XID, for people; `None` for one that has none.
pub(super) fn table(xid: u32) -> Option<impl fmt::Display> {
    UNITS.iter().any(|unit| unit.xid == xid).then_some(Table(xid))
}

struct Table(u32);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  decode: by the two numbers that follow in the kernel's log, IntrInfo and the error status")?;
        let units: Vec<_> = UNITS.iter().filter(|unit| unit.xid == self.0).collect();
        for (index, unit) in units.iter().enumerate() {
            // A unit may have two rows, whose patterns differ in one bit.
            if index == 0 || units[index - 1].name != unit.name {
                writeln!(f, "    {}", unit.name)?;
            }
            writeln!(f, "      IntrInfo …{} (before R575: …{})", tail(unit.new), tail(unit.old))?;
            for case in unit.cases {
                let kinds: Vec<_> = case.kinds.iter().map(|kind| format!("{kind:06b}")).collect();
                let statuses: Vec<_> = case.statuses.iter().map(|status| format!("{status:#x}")).collect();
                let when = match (case.kinds, case.statuses) {
                    ([0], []) => "any".to_owned(),
                    ([0], _) => format!("error status {}", statuses.join(" ")),
                    _ => format!("bits 25 to 20 {}", kinds.join(" ")),
                };
                writeln!(f, "        {:<11} {:<11} {when}", case.action.as_str(), case.severity)?;
            }
        }
        Ok(())
    }
}

fn tail(pattern: &str) -> &str {
    pattern.trim_start_matches('-')
}

/// Whether the lowest bits of a number are these; `-` is any bit.
fn matches(pattern: &str, number: u32) -> bool {
    let bits = pattern.bytes().rev().enumerate();
    bits.into_iter().all(|(place, bit)| match bit {
        b'0' => number >> place & 1 == 0,
        b'1' => number >> place & 1 == 1,
        _ => true,
    })
}

/// The branch of the driver that numbers the units anew.
const RENUMBERED: u32 = 575;
/// Where `IntrInfo` has what happened in the unit: bits 25 to 20.
const KIND_SHIFT: u32 = 20;
const KIND_MASK: u32 = 0b11_1111;

/// A unit of NVLink 5.
struct Unit {
    xid: u32,
    name: &'static str,
    /// The lowest bits of `IntrInfo` before R575.
    old: &'static str,
    /// The same from R575 on.
    new: &'static str,
    cases: &'static [Case],
}

/// What to do when a unit reports this.
struct Case {
    /// Bits 25 to 20 of `IntrInfo`.
    kinds: &'static [u32],
    /// The error status; none: any.
    statuses: &'static [u32],
    action: Action,
    severity: &'static str,
}

const fn unit(xid: u32, name: &'static str, old: &'static str, new: &'static str, cases: &'static [Case]) -> Unit {
    Unit { xid, name, old, new, cases }
}

const fn case(kinds: &'static [u32], statuses: &'static [u32], action: Action, severity: &'static str) -> Case {
    Case { kinds, statuses, action, severity }
}

/// The catalogue's tables for XIDs 144 to 150
/// (<https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>, 2026). Where it says that XID 154 decides, the
/// driver is asked.
#[rustfmt::skip] // One case a line, as in the catalogue.
const UNITS: &[Unit] = &[
    unit(144, "SAW_MVB", "----------0000100001", "-------------0000001", &[
        case(&[0], &[0x1, 0x4, 0x8, 0x20], Ignore, "Non-fatal"),
        case(&[0], &[0x2, 0x10], ResetGpu, "Fatal"),
    ]),
    unit(145, "RLW_CTRL", "----------0001100010", "-------------0000011", &[
        case(&[0], &[0x8000_0000], Ignore, "Non-fatal"),
    ]),
    unit(145, "RLW_REMAP", "----------0010000010", "-------------0000100", &[
        case(&[0], &[0x1, 0x2, 0x4, 0x8, 0x10, 0x20], AskDriver, "Non-fatal"),
        case(&[0], &[0x40, 0x80], ResetGpu, "Fatal"),
        case(&[0], &[0x100, 0x200, 0x8000_0000], Ignore, "Non-fatal"),
    ]),
    unit(145, "RLW_RSPCOL", "----------0010100010", "-------------0000101", &[
        case(&[0], &[0x1, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x2], ResetGpu, "Fatal"),
    ]),
    unit(145, "RLW_RXPIPE", "---------00011000010", "------------00000110", &[
        case(&[0], &[0x1, 0x2, 0x4], Ignore, "Non-fatal*"),
    ]),
    unit(145, "RLW_RXPIPE", "----------0011000010", "-------------0000110", &[
        case(&[0], &[0x8, 0x8000_0000], Ignore, "Non-fatal"),
    ]),
    unit(145, "RLW_SRC_TRACK", "----------0011100010", "-------------0000111", &[
        case(&[0], &[0x1, 0x10, 0x20], ResetGpu, "Fatal"),
        case(&[0], &[0x2, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x4, 0x8], AskDriver, "Non-fatal"),
    ]),
    unit(145, "RLW_TAGSTATE", "----------0100000010", "-------------0001000", &[
        case(&[0], &[0x1, 0x0001_0000, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x2, 0x0002_0000, 0x0010_0000], ResetGpu, "Fatal"),
    ]),
    unit(146, "TLW_CTRL", "----------0100100011", "-------------0001001", &[
        case(&[0], &[0x1, 0x2, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x4], ResetGpu, "Fatal"),
    ]),
    unit(146, "TLW_RX/TLW_RX_PIPE0", "----------0101000011", "-------------0001010", &[
        case(&[0], &[0x1, 0x2, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x4], ResetGpu, "Fatal"),
    ]),
    unit(146, "TLW_RX/TLW_RX_PIPE1", "----------0101000011", "-------------0001011", &[
        case(&[0], &[0x1, 0x2, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x4], ResetGpu, "Fatal"),
    ]),
    unit(146, "TLW_TX/TLW_TX_PIPE0", "----------0101100011", "-------------0001100", &[
        case(&[0], &[0x1, 0x2, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x4], ResetGpu, "Fatal"),
    ]),
    unit(146, "TLW_TX/TLW_TX_PIPE1", "----------0101100011", "-------------0001101", &[
        case(&[0], &[0x1, 0x2, 0x8000_0000], Ignore, "Non-fatal"),
        case(&[0], &[0x4], ResetGpu, "Fatal"),
    ]),
    unit(147, "TREX", "----------0110000100", "-------------0001110", &[
        case(&[0], &[0x1, 0x8000_0000], Ignore, "Non-fatal"),
    ]),
    unit(148, "NVLPW_CTRL/NVLPW", "----------0000000101", "-------------0001111", &[
        case(&[0], &[0x8000_0000], Ignore, "Non-fatal"),
    ]),
    unit(149, "NETIR/NETIR_INT", "----------0000000110", "-------------0011000", &[
        case(&[0], &[], ResetGpu, "Link Fatal"),
    ]),
    unit(149, "NETIR_LINK_EVT/NETIR_LINK_DOWN", "----------0111000110", "-------------0010001", &[
        case(&[
            0, 0b00_0001, 0b00_0010, 0b00_0100, 0b00_1010, 0b00_1111, 0b01_0000, 0b01_0001, 0b01_0010, 0b01_0101,
            0b01_0110, 0b10_0000, 0b10_0001, 0b10_0010, 0b10_0011, 0b10_0100, 0b10_0101,
        ], &[], ResetGpu, "Link Fatal"),
        case(&[0b10_0110], &[], Ignore, "Link Fatal"),
        case(&[0b10_1000], &[], Ignore, "Fatal"),
        case(&[0b10_1010, 0b10_1011], &[], ResetGpu, "Link Fatal?"),
    ]),
    unit(149, "NETIR_BER_EVENT", "----------1000100110", "-------------0010011", &[
        case(&[0], &[0x0, 0x1, 0x2, 0x3], Ignore, "Non-fatal"),
    ]),
    unit(149, "NETIR_MFDE_EVENT", "----------1001000110", "-------------0010100", &[
        case(&[0], &[0x1, 0x4, 0x5, 0x7], ResetGpu, "Fatal**"),
        case(&[0], &[0x3], Ignore, "Non-fatal"),
    ]),
    unit(150, "MSE Degraded", "----------0000000000", "-------------0000000", &[
        case(&[0], &[0x0, 0xffff_ffff], ResetGpu, "Fatal"),
    ]),
    unit(150, "MSE_WATCHDOG", "----------0000000000", "-------------0000000", &[
        case(&[0], &[0x0], ResetGpu, "Fatal"),
    ]),
];
