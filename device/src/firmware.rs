//! Which firmware loses keys that `zkGenKeyPair` made (the vendor's issue 159).
//!
//! The verdict is taken from the device's own strings by the first row of [`TABLE`] that fits. What no row fits is
//! unknown, and unknown firmware is treated as affected: a needless mapping is harmless, a missed one loses a key.
//! The vendor does not document the model strings, so a row looks for the product's name in them.

use crate::Identity;

/// Whether a device's firmware loses generated keys at a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It does.
    Affected,
    /// It does not.
    NotAffected,
    /// The vendor has not said.
    Unknown,
}

/// What a row asks of the model string.
enum Model {
    /// Anything.
    Any,
    /// That it contains this, whatever the case.
    Contains(&'static str),
}

/// What a row asks of the firmware string.
enum Firmware {
    /// Anything.
    Any,
    /// Exactly this.
    Exactly(&'static str),
    /// That it begins with a version before this one.
    Before((u32, u32, u32)),
}

struct Row {
    model: Model,
    firmware: Firmware,
    verdict: Verdict,
    reason: &'static str,
}

/// To add a row, cite where the vendor says so.
const TABLE: &[Row] = &[
    // FAQ of the SCM, known issue 159: "This does not affect the HSM6."
    Row {
        model: Model::Contains("HSM6"),
        firmware: Firmware::Any,
        verdict: Verdict::NotAffected,
        reason: "the HSM6 keeps generated keys (vendor issue 159)",
    },
    // "Affects SCM, Firmware version: 01.02.02release". Whatever the model is called: nothing else is known to have
    // firmware of this name.
    Row {
        model: Model::Any,
        firmware: Firmware::Exactly("01.02.02release"),
        verdict: Verdict::Affected,
        reason: "firmware 01.02.02release loses generated keys at a reboot (vendor issue 159)",
    },
    // "not in earlier firmware releases".
    Row {
        model: Model::Contains("SCM"),
        firmware: Firmware::Before((1, 2, 2)),
        verdict: Verdict::NotAffected,
        reason: "firmware before 01.02.02 keeps generated keys (vendor issue 159)",
    },
];

/// The verdict on a device and the reason for it, a sentence without full stop.
pub fn verdict(identity: &Identity) -> (Verdict, &'static str) {
    TABLE
        .iter()
        .find(|row| row.model.fits(&identity.model) && row.firmware.fits(&identity.firmware))
        .map(|row| (row.verdict, row.reason))
        .unwrap_or((Verdict::Unknown, "the vendor has not said whether this firmware loses generated keys"))
}

impl Model {
    fn fits(&self, model: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Contains(name) => model.to_ascii_uppercase().contains(name),
        }
    }
}

impl Firmware {
    fn fits(&self, firmware: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(name) => firmware == *name,
            Self::Before(limit) => version(firmware).is_some_and(|version| version < *limit),
        }
    }
}

/// The three numbers that a firmware string begins with, two digits each as the vendor writes them: `01.02.02release` is
/// (1, 2, 2). Other schemes are not read, so that a reply that was cut short, `01.02.0`, is no older version.
fn version(firmware: &str) -> Option<(u32, u32, u32)> {
    let mut parts = firmware.splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let (patch, name) = rest.split_at_checked(2)?;
    if name.starts_with(|c: char| c == '.' || c.is_ascii_digit()) {
        return None;
    }
    let number = |digits: &str| {
        let two_digits = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        two_digits.then(|| digits.parse().ok()).flatten()
    };
    Some((number(major)?, number(minor)?, number(patch)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(model: &str, firmware: &str) -> Verdict {
        verdict(&Identity { model: model.into(), firmware: firmware.into(), serial: "1".into() }).0
    }

    #[test]
    fn g4_the_affected_firmware_is_recognised_on_any_model_but_the_hsm6() {
        for model in ["SCM", "scm", "ZYMBIT SCM B1", "Secure Compute Module", "", "something new"] {
            assert_eq!(judge(model, "01.02.02release"), Verdict::Affected, "{model}");
        }
        assert_eq!(judge("HSM6", "01.02.02release"), Verdict::NotAffected);
        assert_eq!(judge("zymkey-hsm6-a", "anything"), Verdict::NotAffected);
    }

    #[test]
    fn g4_earlier_firmware_of_an_scm_is_known_good() {
        for firmware in ["01.00.00", "01.00.00release", "01.02.01release", "00.99.99"] {
            assert_eq!(judge("SCM", firmware), Verdict::NotAffected, "{firmware}");
        }
    }

    #[test]
    fn g4_what_the_vendor_has_not_spoken_of_is_unknown() {
        for firmware in [
            "01.02.03release",
            "01.03.00",
            "02.00.00",
            "01.02.02",
            "01.02.02beta",
            "01.02.02release2",
            "01.02.02Release",
            "",
            "release",
            "01.02",
            "01.02.",
            "x.01.02.01",
            "01.02.01.7",
            "01.02.011",
            "1.2.1",
            "-1.00.00",
            "+1.00.00",
            "01,00,00",
            " 01.00.00",
        ] {
            assert_eq!(judge("SCM", firmware), Verdict::Unknown, "{firmware}");
        }
        // Whether an older version of another product's firmware is good, nobody said.
        assert_eq!(judge("ZYMKEY4i", "01.00.00"), Verdict::Unknown);
        assert_eq!(judge("", "01.00.00"), Verdict::Unknown);
    }

    /// The longer version of a reply that was cut short may be the affected one.
    #[test]
    fn g4_a_firmware_string_that_was_cut_short_is_not_known_to_be_good() {
        let whole = "01.02.02release";
        for length in 0..whole.len() {
            assert_eq!(judge("SCM", &whole[..length]), Verdict::Unknown, "{}", &whole[..length]);
        }
    }

    #[test]
    fn every_verdict_has_a_reason() {
        let identity = |firmware: &str| Identity { model: "SCM".into(), firmware: firmware.into(), serial: "1".into() };
        assert!(verdict(&identity("01.02.02release")).1.contains("loses generated keys"));
        assert!(verdict(&identity("01.00.00")).1.contains("keeps generated keys"));
        assert!(verdict(&identity("09.00.00")).1.contains("has not said"));
    }

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(version("01.02.02release"), Some((1, 2, 2)));
        assert!(version("01.09.00") < version("01.10.00"));
        assert_eq!(version("01..00"), None);
        assert_eq!(version("01.00.release"), None);
    }
}
