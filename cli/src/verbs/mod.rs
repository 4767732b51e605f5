//! The verbs, one file each.

mod completions;
mod config_check;
mod config_show;
mod csr;
mod destroy;
mod generate;
mod list;
mod man;
mod pubkey;
mod repair;
mod self_sign;
mod show;
mod status;
mod verify;
mod wallet_create;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Failure;
use crate::report::Report;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Device, firmware, policy in force, wallets, keys, store, and what is wrong with them
    Status(status::Arguments),
    /// Keys: where each lives, and whether it can be recovered
    List(list::Arguments),
    /// One key in full
    Show(show::Arguments),
    /// Make a key pair in a wallet of the device
    Generate(generate::Arguments),
    /// Remove a key from the device and the store
    Destroy(destroy::Arguments),
    /// Print a public key
    Pubkey(pubkey::Arguments),
    /// Make a certificate request (PKCS#10), signed on the device
    Csr(csr::Arguments),
    /// Make a self-signed certificate, signed on the device
    SelfSign(self_sign::Arguments),
    /// Check that every key is on the device, matches its public key, and signs
    Verify(verify::Arguments),
    /// Finish or undo interrupted work
    Repair(repair::Arguments),
    /// Wallets
    #[command(subcommand)]
    Wallet(WalletVerb),
    /// The configuration in force
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print the completions of a shell
    Completions(completions::Arguments),
    /// Write the manual pages
    Man(man::Arguments),
}

/// What to do with wallets.
#[derive(Debug, Subcommand)]
pub enum WalletVerb {
    /// Make the wallet for a token, and decide how it can be recovered
    Create(wallet_create::Arguments),
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print every value and where it comes from
    Show(config_show::Arguments),
    /// Check the configuration and the files it names
    Check(config_check::Arguments),
}

impl Verb {
    /// Does it.
    pub fn run(self, context: &Context) -> Result<Report, Failure> {
        match self {
            Verb::Status(arguments) => status::run(arguments, context),
            Verb::List(arguments) => list::run(arguments, context),
            Verb::Show(arguments) => show::run(arguments, context),
            Verb::Generate(arguments) => generate::run(arguments, context),
            Verb::Destroy(arguments) => destroy::run(arguments, context),
            Verb::Pubkey(arguments) => pubkey::run(arguments, context),
            Verb::Csr(arguments) => csr::run(arguments, context),
            Verb::SelfSign(arguments) => self_sign::run(arguments, context),
            Verb::Verify(arguments) => verify::run(arguments, context),
            Verb::Repair(arguments) => repair::run(arguments, context),
            Verb::Wallet(WalletVerb::Create(arguments)) => wallet_create::run(arguments, context),
            Verb::Config(ConfigVerb::Show(arguments)) => config_show::run(arguments, context),
            Verb::Config(ConfigVerb::Check(arguments)) => config_check::run(arguments, context),
            Verb::Completions(arguments) => completions::run(arguments, context),
            Verb::Man(arguments) => man::run(arguments, context),
        }
    }
}
