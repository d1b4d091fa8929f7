// SPDX-License-Identifier: Apache-2.0
//! What simulated GPUs are made of: figures of NVIDIA's data sheets, and what NVML says of such boards.

/// A kind of GPU.
#[derive(Debug)]
pub(super) struct Product {
    /// What a scenario calls it.
    pub(super) key: &'static str,
    pub(super) product_name: &'static str,
    pub(super) brand: &'static str,
    pub(super) architecture: &'static str,
    pub(super) compute_capability: &'static str,
    pub(super) board_part_number: &'static str,
    pub(super) vbios_version: &'static str,
    pub(super) memory_bytes: u64,
    pub(super) power_limit_milliwatts: u32,
    pub(super) sm_clock_mhz: u32,
    pub(super) memory_clock_mhz: u32,
    pub(super) pcie_generation: u32,
    /// Whether it can be divided.
    pub(super) mig: bool,
    /// Whether it counts ECC errors.
    pub(super) ecc: bool,
    /// Whether it remaps rows of memory (Ampere and newer, in data centres).
    pub(super) remaps_rows: bool,
}

const MIB: u64 = 1 << 20;

/// A GPU of the data centre; the kinds differ from it.
const DATA_CENTRE: Product = Product {
    key: "",
    product_name: "",
    brand: "Nvidia",
    architecture: "Hopper",
    compute_capability: "9.0",
    board_part_number: "",
    vbios_version: "",
    memory_bytes: 0,
    power_limit_milliwatts: 700_000,
    sm_clock_mhz: 1_980,
    memory_clock_mhz: 2_619,
    pcie_generation: 5,
    mig: true,
    ecc: true,
    remaps_rows: true,
};

/// The kinds that there are.
pub(super) static PRODUCTS: &[Product] = &[
    Product {
        key: "h100-80gb",
        product_name: "NVIDIA H100 80GB HBM3",
        board_part_number: "692-2G520-0200-000",
        vbios_version: "96.00.89.00.01",
        memory_bytes: 81_559 * MIB,
        ..DATA_CENTRE
    },
    Product {
        key: "h200-141gb",
        product_name: "NVIDIA H200",
        board_part_number: "692-2G520-0280-001",
        vbios_version: "96.00.BC.00.01",
        memory_bytes: 143_771 * MIB,
        memory_clock_mhz: 3_201,
        ..DATA_CENTRE
    },
    Product {
        key: "a100-40gb",
        product_name: "NVIDIA A100-SXM4-40GB",
        architecture: "Ampere",
        compute_capability: "8.0",
        board_part_number: "692-2G506-0200-002",
        vbios_version: "92.00.45.00.03",
        memory_bytes: 40_960 * MIB,
        power_limit_milliwatts: 400_000,
        sm_clock_mhz: 1_410,
        memory_clock_mhz: 1_215,
        pcie_generation: 4,
        ..DATA_CENTRE
    },
    Product {
        key: "a100-80gb",
        product_name: "NVIDIA A100-SXM4-80GB",
        architecture: "Ampere",
        compute_capability: "8.0",
        board_part_number: "692-2G506-0210-002",
        vbios_version: "92.00.81.00.01",
        memory_bytes: 81_920 * MIB,
        power_limit_milliwatts: 400_000,
        sm_clock_mhz: 1_410,
        memory_clock_mhz: 1_593,
        pcie_generation: 4,
        ..DATA_CENTRE
    },
    Product {
        key: "b200",
        product_name: "NVIDIA B200",
        architecture: "Blackwell",
        compute_capability: "10.0",
        board_part_number: "692-2G525-0220-000",
        vbios_version: "97.00.82.00.0F",
        memory_bytes: 183_359 * MIB,
        power_limit_milliwatts: 1_000_000,
        sm_clock_mhz: 1_965,
        memory_clock_mhz: 3_996,
        ..DATA_CENTRE
    },
    Product {
        key: "gb200",
        product_name: "NVIDIA GB200",
        architecture: "Blackwell",
        compute_capability: "10.0",
        board_part_number: "699-2G548-0201-800",
        vbios_version: "97.00.98.00.02",
        memory_bytes: 189_471 * MIB,
        power_limit_milliwatts: 1_200_000,
        sm_clock_mhz: 2_062,
        memory_clock_mhz: 3_996,
        ..DATA_CENTRE
    },
    Product {
        key: "l40s",
        product_name: "NVIDIA L40S",
        architecture: "Ada",
        compute_capability: "8.9",
        board_part_number: "900-2G133-0080-000",
        vbios_version: "95.02.66.00.02",
        memory_bytes: 46_068 * MIB,
        power_limit_milliwatts: 350_000,
        sm_clock_mhz: 2_520,
        memory_clock_mhz: 9_001,
        pcie_generation: 4,
        mig: false,
        ..DATA_CENTRE
    },
    Product {
        key: "rtx-4090",
        product_name: "NVIDIA GeForce RTX 4090",
        brand: "GeForce",
        architecture: "Ada",
        compute_capability: "8.9",
        board_part_number: "",
        vbios_version: "95.02.18.80.70",
        memory_bytes: 24_564 * MIB,
        power_limit_milliwatts: 450_000,
        sm_clock_mhz: 3_105,
        memory_clock_mhz: 10_501,
        pcie_generation: 4,
        mig: false,
        ecc: false,
        remaps_rows: false,
    },
];

impl Product {
    /// The kind that a scenario means.
    pub(super) fn named(key: &str) -> Result<&'static Self, String> {
        PRODUCTS.iter().find(|product| product.key == key).ok_or_else(|| {
            let known: Vec<_> = PRODUCTS.iter().map(|product| product.key).collect();
            format!("there is no product {key:?}: write one of {}", known.join(", "))
        })
    }
}
