// SPDX-License-Identifier: Apache-2.0
//! `device-apiserver`: reads the command line, does what it says, tells how it ended.

use std::process::ExitCode;
use std::sync::Arc;

use device_api_server::{
    Action, Cli, Config, Listener, Log, Server, ServerError, Signals, datastore, explain_xid, one_line, provide,
    quarantine, simulate,
};

/// How many threads serve at most: a node's devices keep no more of them busy.
const MAX_THREADS: usize = 4;

/// Half of the cores, since the callers are on this node, too. On two cores one thread took 1.6 times
/// the writes that two took, which waited for each other's memory.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MAX_THREADS))
}

fn main() -> ExitCode {
    let log = Arc::new(Log::start());
    let cli = Cli::read(&log);
    if let Some(Action::Simulate(config)) = &cli.action {
        return match simulate(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log.last_word(&format!("device-apiserver: {}", one_line(&error)));
                ExitCode::FAILURE
            }
        };
    }
    log.follow(cli.log());
    if let Some(variables) = Cli::unknown_variables() {
        tracing::warn!(variables, "there are no such flags, so these variables mean nothing");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build();
    let outcome = runtime.map_err(|source| ServerError::Start { what: "a runtime", source }).and_then(|runtime| {
        let outcome = runtime.block_on(run(cli, Arc::clone(&log)));
        // What was left behind at the end of the grace period is not waited for.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => {
            log.drain();
            ExitCode::SUCCESS
        }
        Err(error) => {
            log.last_word(&format!("device-apiserver: {}", one_line(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: Cli, log: Arc<Log>) -> Result<(), ServerError> {
    let signals = Signals::new().map_err(|source| ServerError::Start { what: "signal handlers", source })?;
    match cli.action {
        Some(Action::NvmlProvider(config)) => provide(*config, signals).await,
        Some(Action::Quarantine(config)) => quarantine(&config).await,
        Some(Action::ExplainXid(config)) => explain_xid(&config),
        _ => serve(cli.server, signals, log).await,
    }
}

async fn serve(config: Config, mut signals: Signals, log: Arc<Log>) -> Result<(), ServerError> {
    let source = config.source.source().map_err(ServerError::config)?;
    let ledger = datastore::ledger(&config.datastore_endpoint, config.ledger_options(), signals.next()).await?;
    let Some(ledger) = ledger else { return Ok(()) };
    let quarantined = ledger.quarantined();
    let server = Server::new(ledger).with_options(config.serve_options());
    let server = match source {
        Some((driver, options)) => server.with_gpus_of(driver, options).await?,
        None => server.with_gpus().await?,
    };
    let listener = Listener::bind(&config.socket_options()).map_err(ServerError::Listen)?;
    tracing::info!(
        socket = %config.bind_address,
        datastore = %config.datastore_endpoint,
        quarantined = quarantined.borrow().values().sum::<usize>(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    server
        .run(listener, async move {
            let signal = signals.next().await;
            tracing::info!(signal, "shutting down");
            tokio::spawn(async move {
                let signal = signals.next().await;
                log.last_word(&format!("device-apiserver: a second signal, {signal}: ending at once"));
                std::process::exit(5);
            });
        })
        .await?;
    tracing::info!("shut down");
    Ok(())
}
