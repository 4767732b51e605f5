//! `holdfast-emulator`: makes emulated devices and controls them from outside.

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use serde_json::json;
use zk_app_utils::abi::call_names;
use zk_app_utils::admin::Admin;
use zk_app_utils::behaviour::{ANY, Fault, FaultKind};
use zk_app_utils::device::NewDevice;
use zk_app_utils::state::{Allocation, ExistingNode};
use zk_app_utils::store::{Directory, STATE_VARIABLE};
use zk_app_utils::{Error, Result};

/// Controls an emulated Zymbit device.
///
/// The device is a directory, named by --state or HOLDFAST_EMULATOR_STATE. Programs that load the emulator's
/// libzk_app_utils.so with that variable set find the device there. It is for tests and demonstrations: its keys lie
/// in a file.
///
/// Exit codes: 0 done, 1 the device refused, 2 usage, 3 there is no device or its files cannot be used.
#[derive(Parser)]
#[command(name = "holdfast-emulator", version, max_term_width = 100, after_long_help = JSON_HELP)]
struct Cli {
    /// The device's directory
    #[arg(long, global = true, value_name = "DIR", env = STATE_VARIABLE)]
    state: Option<PathBuf>,
    /// Answers in JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// The shapes of what `--json` answers, which are stable.
const JSON_HELP: &str = "\
JSON answers, one object each:
  create, show, set-firmware, wipe  {model, firmware, serial, affected, boots, capacity, used, slip39_session, wallets: []}
  power-cycle                       {boots, lost: [SLOT]}
  slots                             {capacity, slots: [KEY], foreign: [KEY]}
      KEY                           {slot, type, origin, wallet, node, public_key, volatile, export_disabled}
      type                          p256, secp256k1, ed25519, x25519
      origin                        factory, generated, wallet, oversight, ephemeral (slot -1), foreign
      wallet, node                  null outside wallets
      public_key                    hexadecimal: X and Y, or 32 bytes
  remove-slot                       {removed: [SLOT]}
  fault ..., fault clear, list      {faults: [{call, after, times, kind}]}, those still to happen
  latency                           {latencies: {CALL: MS}}
  trace on, off                     {trace}
  trace show                        {calls: [{pid, call, result}]}
  breach                            {self_destruct}
  all others                        {}";

#[derive(Subcommand)]
enum Verb {
    /// Makes a new device: an SCM with the affected firmware, unless told otherwise
    Create(Create),
    /// Reboots the device: generated keys vanish on affected firmware, the ephemeral key and SLIP39 sessions always
    PowerCycle,
    /// Changes the firmware's version
    SetFirmware {
        /// As zkGetFirmwareVersionString answers it
        version: String,
    },
    /// Shows every key with its slot
    Slots,
    /// Removes a key, and all that were derived from it
    RemoveSlot {
        /// The slot
        #[arg(allow_negative_numbers = true)]
        slot: i32,
    },
    /// Makes a call fail, or the process that makes it die
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Fault(FaultArgs),
    /// Makes a call take longer
    Latency {
        /// The call's name, such as zkGenECDSASigFromDigest, or any
        #[arg(value_parser = call_name)]
        call: String,
        /// Milliseconds; 0 for none
        ms: u64,
    },
    /// A tamper event: all keys are gone
    Wipe,
    /// Shows the device at large (extension)
    Show,
    /// Moves a key into an empty slot (extension)
    MoveSlot {
        /// The slot that holds the key
        from: i32,
        /// The empty slot
        to: i32,
    },
    /// Exchanges what two slots hold (extension)
    SwapSlots {
        /// One slot
        a: i32,
        /// The other
        b: i32,
    },
    /// Puts another key into a slot, at the same node address (extension)
    ReplaceKey {
        /// The slot
        slot: i32,
    },
    /// Restarts the device's daemon: every open context is lost (extension)
    Disconnect,
    /// Writes down every call from now on: process, name, result (extension)
    Trace {
        /// Begin, end, show or forget the trace
        action: TraceAction,
    },
    /// A tap on the device (extension)
    Tap,
    /// A breach of a perimeter channel (extension)
    Breach {
        /// The channel, 0 or 1
        channel: usize,
    },
}

#[derive(Args)]
struct Create {
    /// The model; whatever names an SCM is one
    #[arg(long, default_value_t = NewDevice::default().model)]
    model: String,
    /// The firmware's version
    #[arg(long, default_value_t = NewDevice::default().firmware)]
    firmware: String,
    /// The serial number; random by default
    #[arg(long)]
    serial: Option<String>,
    /// How many slots there are after the factory keys
    #[arg(long, default_value_t = NewDevice::default().slots, value_parser = clap::value_parser!(i32).range(0..=512))]
    slots: i32,
    /// Which free slot a new key gets (extension)
    #[arg(long, value_enum, default_value = "lowest")]
    allocation: AllocationArg,
    /// What deriving a node that exists answers: refuse (-1), or answer (its slot) (extension)
    #[arg(long, value_enum, default_value = "refuse")]
    existing_node: ExistingNodeArg,
    /// Who may use the device, as the mode of its files: 600 (the default) its owner, 666 every process of the host,
    /// as with the vendor's daemon
    #[arg(long, value_parser = octal)]
    mode: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum AllocationArg {
    /// The lowest: a number is given out again as soon as its key is gone
    Lowest,
    /// The one after that taken last, round and round
    Rotating,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ExistingNodeArg {
    Refuse,
    Answer,
}

#[derive(Args)]
struct FaultArgs {
    #[command(subcommand)]
    action: Option<FaultAction>,
    /// The call's name, such as zkGenKeyPair, or any
    #[arg(value_parser = call_name, required = true)]
    call: Option<String>,
    /// Which of the next calls it happens to: 1 is the next one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    after: u64,
    /// How many calls in a row it happens to; 0 until cleared (extension)
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u64,
    /// error, abort-before, abort-after, hang=MS; extensions: error-after, disconnect, short-reply, null-reply,
    /// bad-point, other-key, wrong-signature, wrong-slot
    #[arg(long, required = true)]
    kind: Option<FaultKind>,
}

#[derive(Subcommand)]
enum FaultAction {
    /// Forgets every fault
    Clear,
    /// Shows the faults that are still to happen (extension)
    List,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum TraceAction {
    On,
    Off,
    Show,
    Clear,
}

fn call_name(name: &str) -> Result<String, String> {
    if name == ANY || call_names().any(|call| call == name) {
        Ok(name.into())
    } else {
        Err("not a call of the device's library; for instance zkGenKeyPair, or any".into())
    }
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err("an octal mode such as 600, 660 or 666 expected".into()),
    }
}

/// What a verb answers: for people, and for programs.
struct Answer {
    text: String,
    json: serde_json::Value,
}

fn answer(text: impl Display, json: impl Serialize) -> Answer {
    Answer { text: text.to_string(), json: serde_json::to_value(json).unwrap_or_default() }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.verb, cli.state) {
        Ok(answer) if cli.json => {
            print(&answer.json.to_string());
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            if !answer.text.is_empty() {
                print(answer.text.trim_end());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("holdfast-emulator: {error}");
            ExitCode::from(match error {
                Error::NoStateDirectory | Error::DeviceExists(_) => 2,
                Error::NoDevice(_) | Error::File { .. } | Error::Format { .. } => 3,
                _ => 1,
            })
        }
    }
}

/// One answer on standard output. Whoever stopped reading it has what they wanted.
fn print(answer: &str) {
    let _ = writeln!(std::io::stdout(), "{answer}");
}

fn run(verb: Verb, state: Option<PathBuf>) -> Result<Answer> {
    let path = state.filter(|path| !path.as_os_str().is_empty()).ok_or(Error::NoStateDirectory)?;
    let admin = Admin::new(Directory::new(&path));
    match verb {
        Verb::Create(create) => {
            let new = NewDevice {
                model: create.model,
                firmware: create.firmware,
                serial: create.serial,
                slots: create.slots,
                allocation: match create.allocation {
                    AllocationArg::Lowest => Allocation::Lowest,
                    AllocationArg::Rotating => Allocation::Rotating,
                },
                existing_node: match create.existing_node {
                    ExistingNodeArg::Refuse => ExistingNode::Refuse,
                    ExistingNodeArg::Answer => ExistingNode::Answer,
                },
            };
            let made = admin.create(&new, create.mode)?;
            let text = format!("{} {}, firmware {}, in {}", made.model, made.serial, made.firmware, path.display());
            Ok(answer(text, made))
        }
        Verb::PowerCycle => {
            let lost = admin.power_cycle()?;
            let boots = admin.summary()?.boots;
            let text = match lost.as_slice() {
                [] => "no key was lost".to_owned(),
                lost => format!("lost: slot {}", join(lost)),
            };
            Ok(answer(text, json!({ "boots": boots, "lost": lost })))
        }
        Verb::SetFirmware { version } => {
            admin.set_firmware(&version)?;
            let summary = admin.summary()?;
            Ok(answer(format!("firmware {}", summary.firmware), summary))
        }
        Verb::Slots => {
            let slots = admin.slots()?;
            let lines = slots.slots.iter().chain(&slots.foreign).map(|slot| format!("{slot}\n")).collect::<String>();
            Ok(answer(lines, slots))
        }
        Verb::RemoveSlot { slot } => {
            let removed = admin.remove_slot(slot)?;
            Ok(answer(format!("removed: slot {}", join(&removed)), json!({ "removed": removed })))
        }
        Verb::Fault(args) => fault(&admin, args),
        Verb::Latency { call, ms } => {
            let behaviour = admin.change_behaviour(|behaviour| {
                match ms {
                    0 => behaviour.latencies.remove(&call),
                    ms => behaviour.latencies.insert(call, ms),
                };
            })?;
            Ok(answer("", json!({ "latencies": behaviour.latencies })))
        }
        Verb::Wipe => {
            admin.wipe()?;
            Ok(answer("all keys are gone", admin.summary()?))
        }
        Verb::Show => {
            let summary = admin.summary()?;
            let text = format!(
                "{} {}, firmware {}{}\n{} of {} keys, {} wallets, boot {}",
                summary.model,
                summary.serial,
                summary.firmware,
                if summary.affected { " (loses generated keys at a power cycle)" } else { "" },
                summary.used,
                summary.capacity,
                summary.wallets.len(),
                summary.boots,
            );
            Ok(answer(text, summary))
        }
        Verb::MoveSlot { from, to } => done(admin.move_slot(from, to)),
        Verb::SwapSlots { a, b } => done(admin.swap_slots(a, b)),
        Verb::ReplaceKey { slot } => done(admin.replace_key(slot)),
        Verb::Disconnect => done(admin.disconnect()),
        Verb::Trace { action } => trace(&admin, action),
        Verb::Tap => done(admin.tap()),
        Verb::Breach { channel } => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let destroyed = admin.breach(channel, u32::try_from(since.as_secs()).unwrap_or(u32::MAX))?;
            let text = if destroyed { "the device destroyed its keys" } else { "" };
            Ok(answer(text, json!({ "self_destruct": destroyed })))
        }
    }
}

fn fault(admin: &Admin, args: FaultArgs) -> Result<Answer> {
    let behaviour = match (args.action, args.call, args.kind) {
        (Some(FaultAction::Clear), ..) => admin.change_behaviour(|behaviour| behaviour.faults.clear())?,
        (Some(FaultAction::List), ..) => admin.behaviour()?,
        (None, Some(call), Some(kind)) => admin.change_behaviour(|behaviour| {
            behaviour.faults.push(Fault { call, after: args.after, times: args.times, kind });
        })?,
        (None, ..) => return Err(Error::Argument("CALL and --kind")),
    };
    let line = |fault: &Fault| format!("{} at call {} for {}: {}\n", fault.call, fault.after, fault.times, fault.kind);
    let json: Vec<_> = behaviour
        .faults
        .iter()
        .map(|f| json!({ "call": f.call, "after": f.after, "times": f.times, "kind": f.kind.to_string() }))
        .collect();
    Ok(answer(behaviour.faults.iter().map(line).collect::<String>(), json!({ "faults": json })))
}

fn trace(admin: &Admin, action: TraceAction) -> Result<Answer> {
    match action {
        TraceAction::On | TraceAction::Off => {
            let on = matches!(action, TraceAction::On);
            admin.change_behaviour(|behaviour| behaviour.trace = on)?;
            Ok(answer("", json!({ "trace": on })))
        }
        TraceAction::Clear => done(admin.clear_trace()),
        TraceAction::Show => {
            let trace = admin.trace()?;
            let calls: Vec<_> = trace
                .lines()
                .filter_map(|line| {
                    let mut words = line.splitn(3, ' ');
                    Some(json!({
                        "pid": words.next()?.parse::<u32>().ok()?, "call": words.next()?, "result": words.next()?,
                    }))
                })
                .collect();
            Ok(answer(&trace, json!({ "calls": calls })))
        }
    }
}

fn done(result: Result<()>) -> Result<Answer> {
    result.map(|()| answer("", json!({})))
}

fn join(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
