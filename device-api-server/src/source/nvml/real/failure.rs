// SPDX-License-Identifier: Apache-2.0
//! What NVML's return codes mean for the source.

use nvml_wrapper::error::NvmlError;

use crate::source::nvml::driver::DriverError;

/// What a call answered, with its error in the driver's terms.
pub(super) fn answer<T>(call: &'static str, result: Result<T, NvmlError>) -> Result<T, DriverError> {
    result.map_err(|error| failure(call, error))
}

/// A reading of health: `None` where this GPU, driver or process has none, an error where there should be one.
pub(super) fn reading<T>(call: &'static str, result: Result<T, NvmlError>) -> Result<Option<T>, DriverError> {
    match answer(call, result) {
        Ok(value) => Ok(Some(value)),
        Err(DriverError::NotSupported | DriverError::NoSuchFunction { .. } | DriverError::NoPermission) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A fact that may be missing: an error only where the GPU or the driver answers nothing at all.
pub(super) fn fact<T>(call: &'static str, result: Result<T, NvmlError>) -> Result<Option<T>, DriverError> {
    match reading(call, result) {
        Err(error @ (DriverError::Other { .. } | DriverError::NotFound)) => {
            tracing::debug!(%error, call, "NVML does not tell this");
            Ok(None)
        }
        other => other,
    }
}

/// The return codes, in nvml.h's words: `nvmlReturn_t`.
fn failure(call: &'static str, error: NvmlError) -> DriverError {
    let other = |why: String| DriverError::Other { call, why };
    match error {
        NvmlError::Uninitialized => DriverError::Uninitialized,
        NvmlError::DriverNotLoaded => DriverError::DriverNotLoaded,
        NvmlError::LibRmVersionMismatch => DriverError::VersionMismatch,
        NvmlError::GpuLost => DriverError::GpuLost,
        NvmlError::ResetRequired => DriverError::ResetRequired,
        NvmlError::NotFound => DriverError::NotFound,
        NvmlError::NotSupported => DriverError::NotSupported,
        NvmlError::NoPermission => DriverError::NoPermission,
        NvmlError::FunctionNotFound => DriverError::NoSuchFunction { symbol: call.to_owned() },
        NvmlError::FailedToLoadSymbol(text) => DriverError::NoSuchFunction { symbol: symbol(&text, call) },
        NvmlError::UnexpectedVariant(value) => other(format!("it answered {value}, which this program does not know")),
        error => other(error.to_string()),
    }
}

/// The function that is missing: dlsym(3) names it last. A wrapped call may need two.
fn symbol(text: &str, call: &str) -> String {
    let last = text.split_whitespace().last().filter(|word| word.starts_with("nvml"));
    last.unwrap_or(call).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gpu_cannot_tell_is_absent_and_what_it_should_tell_is_an_error() {
        let read = |error| reading::<()>("nvmlDeviceGetSerial", Err(error));
        for absent in [NvmlError::NotSupported, NvmlError::NoPermission, NvmlError::FunctionNotFound] {
            assert_eq!(read(absent), Ok(None));
        }
        assert_eq!(read(NvmlError::GpuLost), Err(DriverError::GpuLost));
        assert!(matches!(read(NvmlError::Unknown), Err(DriverError::Other { .. })));
    }

    #[test]
    fn a_fact_is_an_error_only_where_nothing_answers() {
        assert_eq!(fact::<()>("nvmlDeviceGetSerial", Err(NvmlError::Unknown)), Ok(None));
        assert_eq!(fact::<()>("nvmlDeviceGetSerial", Err(NvmlError::GpuLost)), Err(DriverError::GpuLost));
    }

    #[test]
    fn a_missing_function_is_named_as_the_loader_names_it() {
        let text = "/usr/lib/libnvidia-ml.so.1: undefined symbol: nvmlDeviceGetUUID".to_owned();
        let found = failure("nvmlDeviceGetSerial", NvmlError::FailedToLoadSymbol(text));
        assert_eq!(found, DriverError::NoSuchFunction { symbol: "nvmlDeviceGetUUID".to_owned() });
    }
}
