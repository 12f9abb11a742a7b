//! Forms of the token endpoint, against a slower reading; and the assertion in one.

use portcullis::control::Form;
use portcullis::domain::client_assertion::UnverifiedAssertion;

use super::common::in_linear_work;

pub fn run(data: &[u8]) {
    let expected = expected(data);
    match (in_linear_work(data.len(), || Form::parse(data)), &expected) {
        (Ok(form), Some(pairs)) => {
            for (name, value) in pairs {
                let ours = form.get(name).unwrap_or_default();
                assert_eq!(ours, value, "another value");
            }
            let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(form.unknown(&names), None, "a parameter that nobody sent");
            if let Some(assertion) = form.get("client_assertion") {
                let _ = UnverifiedAssertion::parse(assertion);
            }
        }
        (Ok(_), None) => panic!("accepted, and a slow reading refuses it"),
        (Err(error), Some(_)) => panic!("refused ({error}), and a slow reading accepts it"),
        (Err(_), None) => {}
    }
}

fn expected(data: &[u8]) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for pair in data.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let name = decoded(&pair[..at])?;
        let value = decoded(pair.get(at + 1..).unwrap_or_default())?;
        if pairs.iter().any(|(held, _)| *held == name) {
            return None;
        }
        pairs.push((name, value));
    }
    (pairs.len() <= 64).then_some(pairs)
}

fn decoded(bytes: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (byte, length) = match bytes[at] {
            b'+' => (b' ', 1),
            b'%' => {
                let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
                let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                (u8::from_str_radix(digits, 16).ok().filter(|_| plain)?, 3)
            }
            other => (other, 1),
        };
        out.push(byte);
        at += length;
    }
    String::from_utf8(out).ok().filter(|text| !text.contains('\0'))
}
