// SPDX-License-Identifier: Apache-2.0
//! The XIDs that NVIDIA's catalogue has an action for, or at least a name.

use std::ops::RangeInclusive;

use super::action::Action::{self, *};
use super::action::Investigation::{self, *};

/// One row of the catalogue.
pub(super) struct Row {
    pub(super) xid: u32,
    /// The name that the driver's sources and the kernel's log give it.
    pub(super) mnemonic: &'static str,
    /// What happened, in words of our own.
    pub(super) title: &'static str,
    /// The immediate action.
    pub(super) action: Action,
    /// What to do after that.
    pub(super) investigation: Investigation,
    /// The first branch of the driver whose recovery action speaks of it.
    pub(super) spoken_of_from: Option<u32>,
}

/// The row of this XID.
pub(super) fn find(xid: u32) -> Option<&'static Row> {
    ROWS.binary_search_by_key(&xid, |row| row.xid).ok().and_then(|index| ROWS.get(index))
}

/// Whether the catalogue lists this number as unused.
pub(super) fn is_unused(xid: u32) -> bool {
    UNUSED.iter().any(|numbers| numbers.contains(&xid))
}

const fn row(
    xid: u32,
    mnemonic: &'static str,
    title: &'static str,
    action: Action,
    investigation: Investigation,
    spoken_of_from: Option<u32>,
) -> Row {
    Row { xid, mnemonic, title, action, investigation, spoken_of_from }
}

// Branches of the driver.
const R565: Option<u32> = Some(565);
const R570: Option<u32> = Some(570);
const R575: Option<u32> = Some(575);
/// The recovery action speaks of it whenever the driver has both: the first branch with a recovery action.
const ALWAYS: Option<u32> = R565;
const NEVER: Option<u32> = None;

/// Numbers that the catalogue lists as unused on Ampere and newer. For those without a row of their own it says to contact
/// support.
const UNUSED: [RangeInclusive<u32>; 20] = [
    1..=7,
    9..=10,
    12..=12,
    14..=24,
    26..=30,
    33..=36,
    42..=42,
    47..=47,
    49..=53,
    55..=59,
    61..=61,
    65..=65,
    73..=73,
    81..=81,
    87..=87,
    90..=91,
    108..=108,
    111..=118,
    122..=125,
    138..=138,
];

/// Sorted by number. All but the titles is from "Analyzing Xid Errors with the Xid Catalog"
/// (<https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>, 2026), for Ampere and newer: the actions are
/// those of the columns "Resolution Bucket (Immediate Action)" and "(Investigatory Action)", and the branches those of its
/// column on XID 154. For its workflows ([`super::explain`] has each in words) there stands what is to be done when the XID
/// comes alone; where they read registers, which NVML does not tell, the driver is asked.
pub(super) const ROWS: &[Row] = &[
    row(8, "ROBUST_CHANNEL_FIFO_ERROR_IDLE_TIMEOUT", "a channel made no progress in time", RestartApp, Support, NEVER),
    row(
        11,
        "ROBUST_CHANNEL_GR_ERROR_MISSING_HW",
        "a command stream was invalid or damaged",
        RestartApp,
        Application,
        NEVER,
    ),
    row(
        13,
        "ROBUST_CHANNEL_GR_EXCEPTION",
        "an exception in the graphics or compute engine",
        RestartApp,
        Workflow,
        NEVER,
    ),
    row(14, "ROBUST_CHANNEL_FAKE_ERROR", "an error that a test made up", Ignore, Support, NEVER),
    row(
        25,
        "ROBUST_CHANNEL_GR_ILLEGAL_NOTIFY",
        "a command stream was invalid or illegal",
        RestartApp,
        Application,
        NEVER,
    ),
    row(31, "ROBUST_CHANNEL_FIFO_ERROR_MMU_ERR_FLT", "a page fault in the GPU's memory", RestartApp, Workflow, NEVER),
    row(
        32,
        "ROBUST_CHANNEL_PBDMA_ERROR",
        "a command stream was invalid or damaged on its way",
        RestartApp,
        Application,
        NEVER,
    ),
    row(
        37,
        "ROBUST_CHANNEL_FECS_ERR_UNIMP_FIRMWARE_METHOD",
        "the context switching firmware was asked for what it lacks",
        Ignore,
        Application,
        NEVER,
    ),
    row(
        38,
        "ROBUST_CHANNEL_FECS_ERR_WATCHDOG_TIMEOUT",
        "the context switching firmware was slow",
        Ignore,
        Support,
        NEVER,
    ),
    row(39, "ROBUST_CHANNEL_CE0_ERROR", "an error in copy engine 0", RestartApp, Support, NEVER),
    row(40, "ROBUST_CHANNEL_CE1_ERROR", "an error in copy engine 1", RestartApp, Support, NEVER),
    row(41, "ROBUST_CHANNEL_CE2_ERROR", "an error in copy engine 2", RestartApp, Support, NEVER),
    row(
        43,
        "ROBUST_CHANNEL_RESETCHANNEL_VERIF_ERROR",
        "an application's channel was stopped by an error of its own",
        Ignore,
        Support,
        NEVER,
    ),
    row(44, "ROBUST_CHANNEL_GR_FAULT_DURING_CTXSW", "an engine fault during a context switch", Ignore, Support, NEVER),
    row(
        45,
        "ROBUST_CHANNEL_PREEMPTIVE_REMOVAL",
        "an application's channels were removed, after another error or at its end",
        Ignore,
        FabricManager,
        NEVER,
    ),
    row(46, "ROBUST_CHANNEL_GPU_TIMEOUT_ERROR", "the GPU stopped working", ResetGpu, Support, NEVER),
    row(48, "ROBUST_CHANNEL_GPU_ECC_DBE", "an uncorrectable memory error", ResetGpu, Workflow, R565),
    row(
        54,
        "SILENT_RUNNING_PWR_REDUCED_CLOCKING",
        "the clocks are held down: a power cable is missing or loose",
        CheckPower,
        Support,
        NEVER,
    ),
    row(60, "ROBUST_CHANNEL_SEC2_ERROR", "an error in the security engine", RestartApp, Software, NEVER),
    row(
        61,
        "PMU_BREAKPOINT",
        "the power management controller stopped at a breakpoint",
        ContactSupport,
        Unpublished,
        NEVER,
    ),
    row(62, "PMU_HALT_ERROR", "the power management controller halted", ResetGpu, Support, R565),
    row(63, "INFOROM_DRAM_RETIREMENT_EVENT", "a memory row or page was recorded to be replaced", Ignore, Nothing, R565),
    row(
        64,
        "INFOROM_DRAM_RETIREMENT_FAILURE",
        "a memory row or page could not be recorded to be replaced",
        ResetGpu,
        Support,
        R565,
    ),
    row(
        66,
        "ROBUST_CHANNEL_FECS_ERR_REG_ACCESS_VIOLATION",
        "the context switching firmware refused a register access",
        Ignore,
        Software,
        NEVER,
    ),
    row(
        67,
        "ROBUST_CHANNEL_FECS_ERR_VERIF_VIOLATION",
        "the context switching firmware found a violation",
        Ignore,
        Support,
        NEVER,
    ),
    row(68, "ROBUST_CHANNEL_NVDEC0_ERROR", "an error in video decoder 0", RestartApp, Support, NEVER),
    row(
        69,
        "ROBUST_CHANNEL_GR_CLASS_ERROR",
        "the graphics or compute engine was used wrongly",
        RestartApp,
        Application,
        NEVER,
    ),
    row(70, "ROBUST_CHANNEL_CE3_ERROR", "an error in copy engine 3", RestartApp, Support, NEVER),
    row(71, "ROBUST_CHANNEL_CE4_ERROR", "an error in copy engine 4", RestartApp, Support, NEVER),
    row(72, "ROBUST_CHANNEL_CE5_ERROR", "an error in copy engine 5", RestartApp, Support, NEVER),
    row(74, "NVLINK_ERROR", "an error on an NVLink", AskDriver, Support, R565),
    row(75, "ROBUST_CHANNEL_CE6_ERROR", "an error in copy engine 6", RestartApp, Support, NEVER),
    row(76, "ROBUST_CHANNEL_CE7_ERROR", "an error in copy engine 7", RestartApp, Support, NEVER),
    row(77, "ROBUST_CHANNEL_CE8_ERROR", "an error in copy engine 8", RestartApp, Support, NEVER),
    row(
        78,
        "VGPU_START_ERROR",
        "a virtual GPU did not start: its software and the driver do not fit",
        UpdateSoftware,
        Update,
        NEVER,
    ),
    row(79, "ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS", "the GPU has fallen off the bus", RebootNode, Support, R565),
    row(
        80,
        "PBDMA_PUSHBUFFER_CRC_MISMATCH",
        "a command stream was damaged on its way to the GPU",
        RestartApp,
        Application,
        NEVER,
    ),
    row(82, "ROBUST_CHANNEL_NVJPG0_ERROR", "an error in JPEG decoder 0", RestartApp, Support, NEVER),
    row(83, "ROBUST_CHANNEL_NVDEC1_ERROR", "an error in video decoder 1", RestartApp, Support, NEVER),
    row(84, "ROBUST_CHANNEL_NVDEC2_ERROR", "an error in video decoder 2", RestartApp, Support, NEVER),
    row(85, "ROBUST_CHANNEL_CE9_ERROR", "an error in copy engine 9", RestartApp, Support, NEVER),
    row(86, "ROBUST_CHANNEL_OFA0_ERROR", "an error in optical flow engine 0", RestartApp, Support, NEVER),
    row(88, "ROBUST_CHANNEL_NVDEC3_ERROR", "an error in video decoder 3", RestartApp, Support, NEVER),
    row(89, "ROBUST_CHANNEL_NVDEC4_ERROR", "an error in video decoder 4", RestartApp, Support, NEVER),
    row(92, "EXCESSIVE_SBE_INTERRUPTS", "corrected memory errors are frequent", Ignore, Support, NEVER),
    row(93, "INFOROM_ERASE_LIMIT_EXCEEDED", "the InfoROM cannot be erased any more", Ignore, Support, NEVER),
    row(
        94,
        "ROBUST_CHANNEL_CONTAINED_ERROR",
        "an uncorrectable error that stayed within one application",
        RestartApp,
        FollowOther,
        R565,
    ),
    row(
        95,
        "ROBUST_CHANNEL_UNCONTAINED_ERROR",
        "an uncorrectable error that spread beyond one application",
        ResetGpu,
        FollowOther,
        R565,
    ),
    row(96, "ROBUST_CHANNEL_NVDEC5_ERROR", "an error in video decoder 5", RestartApp, Support, NEVER),
    row(97, "ROBUST_CHANNEL_NVDEC6_ERROR", "an error in video decoder 6", RestartApp, Support, NEVER),
    row(98, "ROBUST_CHANNEL_NVDEC7_ERROR", "an error in video decoder 7", RestartApp, Support, NEVER),
    row(99, "ROBUST_CHANNEL_NVJPG1_ERROR", "an error in JPEG decoder 1", RestartApp, Support, NEVER),
    row(100, "ROBUST_CHANNEL_NVJPG2_ERROR", "an error in JPEG decoder 2", RestartApp, Support, NEVER),
    row(101, "ROBUST_CHANNEL_NVJPG3_ERROR", "an error in JPEG decoder 3", RestartApp, Support, NEVER),
    row(102, "ROBUST_CHANNEL_NVJPG4_ERROR", "an error in JPEG decoder 4", RestartApp, Support, NEVER),
    row(103, "ROBUST_CHANNEL_NVJPG5_ERROR", "an error in JPEG decoder 5", RestartApp, Support, NEVER),
    row(104, "ROBUST_CHANNEL_NVJPG6_ERROR", "an error in JPEG decoder 6", RestartApp, Support, NEVER),
    row(105, "ROBUST_CHANNEL_NVJPG7_ERROR", "an error in JPEG decoder 7", RestartApp, Support, NEVER),
    row(106, "SMBPBI_TEST_MESSAGE", "a test message", Ignore, Nothing, NEVER),
    row(107, "SMBPBI_TEST_MESSAGE_SILENT", "a silent test message", Ignore, Nothing, NEVER),
    row(
        108,
        "NVLINK_REMOTE_TRANSLATION_ERROR",
        "an access from another GPU could not be translated",
        Ignore,
        Workflow,
        NEVER,
    ),
    row(109, "ROBUST_CHANNEL_CTXSW_TIMEOUT_ERROR", "a context switch did not end in time", ResetGpu, Support, R570),
    row(110, "SEC_FAULT_ERROR", "the GPU shut itself off for a security fault", ResetGpu, Software, R565),
    row(119, "GSP_RPC_TIMEOUT", "the GPU's system processor did not answer in time", ResetGpu, Software, NEVER),
    row(120, "GSP_ERROR", "an error in the GPU's system processor", ResetGpu, Software, R565),
    row(121, "C2C_ERROR", "corrected errors on the link to the CPU", Ignore, Support, NEVER),
    row(126, "ROBUST_CHANNEL_CE10_ERROR", "an error in copy engine 10", RestartApp, Support, NEVER),
    row(127, "ROBUST_CHANNEL_CE11_ERROR", "an error in copy engine 11", RestartApp, Support, NEVER),
    row(128, "ROBUST_CHANNEL_CE12_ERROR", "an error in copy engine 12", RestartApp, Support, NEVER),
    row(129, "ROBUST_CHANNEL_CE13_ERROR", "an error in copy engine 13", RestartApp, Support, NEVER),
    row(130, "ROBUST_CHANNEL_CE14_ERROR", "an error in copy engine 14", RestartApp, Support, NEVER),
    row(131, "ROBUST_CHANNEL_CE15_ERROR", "an error in copy engine 15", RestartApp, Support, NEVER),
    row(132, "ROBUST_CHANNEL_CE16_ERROR", "an error in copy engine 16", RestartApp, Support, NEVER),
    row(133, "ROBUST_CHANNEL_CE17_ERROR", "an error in copy engine 17", RestartApp, Support, NEVER),
    row(134, "ROBUST_CHANNEL_CE18_ERROR", "an error in copy engine 18", RestartApp, Support, NEVER),
    row(135, "ROBUST_CHANNEL_CE19_ERROR", "an error in copy engine 19", RestartApp, Support, NEVER),
    row(136, "ALI_TRAINING_FAIL", "an NVLink did not come up", ResetGpu, Link, R565),
    row(137, "NVLINK_PRIV_ERR", "an access from another GPU was refused", Ignore, Workflow, NEVER),
    row(139, "ROBUST_CHANNEL_OFA1_ERROR", "an error in optical flow engine 1", RestartApp, Support, NEVER),
    row(
        140,
        "UNRECOVERABLE_ECC_ERROR_ESCAPE",
        "an uncorrectable memory error that was not dealt with",
        ResetGpu,
        Support,
        NEVER,
    ),
    row(141, "ROBUST_CHANNEL_FAST_PATH_ERROR", "an error in CUDA's fast path", Ignore, Support, NEVER),
    row(142, "ROBUST_CHANNEL_NVENC3_ERROR", "an error in video encoder 3", ContactSupport, Unpublished, NEVER),
    row(143, "GPU_INIT_ERROR", "the GPU did not initialise", ResetGpu, Support, R575),
    row(144, "NVLINK_SAW_ERROR", "an error in the NVLink unit SAW", AskDriver, Workflow, R565),
    row(145, "NVLINK_RLW_ERROR", "an error in the NVLink unit RLW", AskDriver, Workflow, R565),
    row(146, "NVLINK_TLW_ERROR", "an error in the NVLink unit TLW", AskDriver, Workflow, R565),
    row(147, "NVLINK_TREX_ERROR", "an error in the NVLink unit TREX", AskDriver, Workflow, R565),
    row(148, "NVLINK_NVLPW_CTRL_ERROR", "an error in the NVLink unit NVLPW_CTRL", AskDriver, Workflow, R565),
    row(149, "NVLINK_NETIR_ERROR", "an error in the NVLink unit NETIR", AskDriver, Workflow, R565),
    row(150, "NVLINK_MSE_ERROR", "an error in the NVLink unit MSE", AskDriver, Workflow, R565),
    row(
        151,
        "ROBUST_CHANNEL_KEY_ROTATION_ERROR",
        "the keys of confidential computing could not be renewed",
        RestartVm,
        Support,
        NEVER,
    ),
    row(
        152,
        "ROBUST_CHANNEL_DLA_SMMU_ERROR",
        "a memory error of the deep learning accelerator",
        Ignore,
        Support,
        NEVER,
    ),
    row(
        153,
        "ROBUST_CHANNEL_DLA_TIMEOUT",
        "the deep learning accelerator did not answer in time",
        Ignore,
        Support,
        NEVER,
    ),
    row(
        154,
        "GPU_RECOVERY_ACTION_CHANGED",
        "the driver wants something else done about the GPU than before",
        AskDriver,
        FollowOther,
        NEVER,
    ),
    row(155, "NVLINK_SW_DEFINED_ERROR", "an NVLink went down", ResetGpu, Software, R565),
    row(
        156,
        "RESOURCE_RETIREMENT_EVENT",
        "a part of the GPU was recorded to be replaced by a spare",
        ResetGpu,
        Nothing,
        R565,
    ),
    row(157, "RESOURCE_RETIREMENT_FAILURE", "a part of the GPU has no spare left", Ignore, Support, NEVER),
    row(158, "GPU_FATAL_TIMEOUT", "the GPU stopped answering", ResetGpu, Support, ALWAYS),
    row(159, "ROBUST_CHANNEL_CHI_NON_DATA_ERROR", "an error on the link to the CPU", AskDriver, ReportAlone, ALWAYS),
    row(
        160,
        "CHANNEL_RETIREMENT_EVENT",
        "a memory channel was recorded to be replaced by a spare",
        Ignore,
        Software,
        R575,
    ),
    row(161, "CHANNEL_RETIREMENT_FAILURE", "a memory channel has no spare left", Ignore, Software, R575),
    row(162, "PSHC_REENGAGED", "power smoothing is on again", NonePublished, Unpublished, NEVER),
    row(163, "PSHC_DISENGAGED", "power smoothing is off", NonePublished, Unpublished, NEVER),
    row(164, "PSHC_LOW_LIFETIME", "power smoothing will soon be worn out", NonePublished, Unpublished, NEVER),
    row(165, "PSHC_ZERO_LIFETIME", "power smoothing is worn out", NonePublished, Unpublished, NEVER),
    row(
        166,
        "NVLINK_SECURE_CRYPTO_ERR",
        "traffic on an NVLink before it was encrypted",
        NonePublished,
        Unpublished,
        NEVER,
    ),
    row(167, "PCIE_FATAL_TIMEOUT", "the PCIe link did not answer in time", NonePublished, Unpublished, NEVER),
    row(168, "REDUCED_GPU_MEMORY_CAPACITY", "errors in the protected memory region", NonePublished, Unpublished, NEVER),
    row(169, "SEC2_HALT_ERROR", "the security engine halted", NonePublished, Unpublished, NEVER),
    row(
        170,
        "NVLINK_SECURE_OTHER",
        "an interrupt of an NVLink in confidential computing",
        NonePublished,
        Unpublished,
        NEVER,
    ),
    row(
        171,
        "UNCORRECTABLE_DRAM_ERROR",
        "the uncorrectable error of an XID 48 was in DRAM",
        NonePublished,
        Unpublished,
        NEVER,
    ),
    row(
        172,
        "UNCORRECTABLE_SRAM_ERROR",
        "the uncorrectable error of an XID 48 was in SRAM",
        NonePublished,
        Unpublished,
        NEVER,
    ),
];
