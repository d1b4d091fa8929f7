// SPDX-License-Identifier: Apache-2.0
//! The nodes whose GPUs the source watches: the most that there are of, whole or divided.

use device_api_server::source::simulated::Scenario;
use nvml_standin::{Mig, Script};

/// As many GPUs as a node has at most.
pub const GPUS: u32 = 16;
/// As many MIG devices as a GPU has at most.
const PARTS: u32 = 7;

/// A node with 16 GPUs.
#[derive(Clone, Copy, Debug)]
pub enum Node {
    /// Whole ones.
    Whole,
    /// Each divided into seven.
    Divided,
}

impl Node {
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "16 GPUs",
            Self::Divided => "112 MIG devices",
        }
    }

    /// How many objects there are of them.
    pub fn objects(self) -> usize {
        (GPUS + GPUS * self.parts()) as usize
    }

    fn parts(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::Divided => PARTS,
        }
    }

    /// The node, for the simulation to play.
    pub fn scenario(self) -> String {
        let mig = vec!["1g.10gb"; self.parts() as usize];
        format!("[node]\ngpus = {GPUS}\nmig = {mig:?}\n")
    }

    /// The node, as the simulation has it.
    pub fn simulated(self) -> Scenario {
        Scenario::parse("the node", &self.scenario()).unwrap()
    }

    /// The node, for the stand-in of NVML to play.
    pub fn script(self) -> Script {
        let mut script = Script::with_gpus(GPUS);
        for (place, gpu) in (0..).zip(&mut script.gpus) {
            gpu.mig_mode = Some((self.parts().min(1), self.parts().min(1)));
            gpu.mig_devices = (0..self.parts()).map(|part| mig(place, part)).collect();
        }
        script
    }
}

fn mig(gpu: u32, part: u32) -> Mig {
    Mig {
        uuid: format!("MIG-00000000-0000-4000-8000-{gpu:06x}{part:06x}"),
        gpu_instance_id: 7 + part,
        compute_instance_id: 0,
        profile: "1g.10gb".to_owned(),
        memory_bytes: 10 << 30,
    }
}
