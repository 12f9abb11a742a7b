//! PEM files (RFC 7468): certificates and private keys, and what is wrong with a file without a byte of it.
//!
//! The parser's own errors quote the line at fault, which in a key that was pasted into one line is the key.

use rustls::RootCertStore;
use rustls_pki_types::pem::{Error, PemObject as _, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const BEGIN: &[u8] = b"-----BEGIN ";

/// The certificates of a text, in its order.
///
/// # Errors
/// What is wrong, as words that follow the file's name and a colon.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(held) if held.is_empty() => Err(problem(&Error::NoItemsFound, pem)),
        Ok(held) => Ok(held),
        Err(error) => Err(problem(&error, pem)),
    }
}

/// The first private key of a text.
///
/// # Errors
/// As [`certificates`].
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| problem(&error, pem))
}

/// The certificates of authorities, which must be all that the text holds.
///
/// # Errors
/// As [`certificates`].
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, &'static str> {
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section {
            Ok((SectionKind::Certificate, _)) => {}
            Ok(_) => return Err("it holds something besides certificates"),
            Err(error) => return Err(problem(&error, pem)),
        }
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|_| "one of its certificates is damaged or cannot be an authority")?;
    }
    Ok(roots)
}

fn problem(error: &Error, pem: &[u8]) -> &'static str {
    if is_on_one_line(pem) {
        return "the PEM is on one line; restore its line breaks";
    }
    match error {
        Error::NoItemsFound => "there is none in it",
        Error::MissingSectionEnd { .. } => "an END line is missing or names another kind than its BEGIN line",
        Error::IllegalSectionStart { .. } => "a BEGIN line is damaged",
        Error::Base64Decode(_) => "its base64 is damaged; copy the file again",
        Error::SectionTooLarge => "it is too large",
        _ => "it cannot be read",
    }
}

/// Whether more than its label stands on the line of a block's beginning: line breaks that were lost, or became
/// spaces, or `\n` as two characters, as secret stores and templates make of them.
fn is_on_one_line(pem: &[u8]) -> bool {
    pem.split(|byte| *byte == b'\n').any(|line| {
        let begin = memchr::memmem::find(line, BEGIN);
        let label = begin.and_then(|at| line.get(at + BEGIN.len()..));
        let rest = label.and_then(|label| label.get(memchr::memmem::find(label, b"-----")? + 5..));
        rest.is_some_and(|rest| !rest.trim_ascii().is_empty())
    })
}
