//! The configuration of this process, as the module needs it.

use holdfast_config::Config;

use crate::error::Error;
use crate::log;

/// Reads the configuration and sets up the log by it. What is wrong in `[log]` is reported, not fatal.
pub fn load() -> Result<Config, Error> {
    let config = Config::load().map_err(Box::new)?;
    log::configure(&config.log);
    for problem in &config.log_problems {
        log::warn(format_args!("{problem}"));
    }
    Ok(config)
}
