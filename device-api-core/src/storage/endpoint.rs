//! stub
/// stub
#[derive(Debug)]
pub struct Endpoint;
/// stub
#[derive(Debug)]
pub struct EndpointError;
