//! Public keys: which are taken, which are refused and with what sentence. The keys in `pem/` are public
//! halves whose private halves nobody kept.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::domain::ids::KeyId;
use portcullis::domain::key::{Algorithm, InvalidPublicKey, PEM_BYTES_MAX, PublicKey, VerifyingKey};

fn pem(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decide/pem");
    std::fs::read_to_string(folder.join(name).with_extension("pem")).unwrap()
}

fn read(name: &str) -> Result<PublicKey, InvalidPublicKey> {
    PublicKey::from_pem(&pem(name))
}

/// Modulus and exponent of a good RSA key.
fn rsa_numbers() -> (Vec<u8>, Vec<u8>) {
    match read("rsa_2048").unwrap() {
        PublicKey::Rsa { n, e } => (n, e),
        other => panic!("{other:?}"),
    }
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn the_four_forms_of_good_keys_are_taken() {
    for (name, algorithm) in [
        ("rsa_2048", Algorithm::Rs256),
        ("rsa_2048_pkcs1", Algorithm::Rs256),
        ("ec_p_256", Algorithm::Es256),
        ("ed25519", Algorithm::EdDsa),
    ] {
        assert_eq!(read(name).unwrap().default_algorithm(), algorithm, "{name}");
    }
    assert_eq!(read("rsa_2048"), read("rsa_2048_pkcs1"));
}

#[test]
fn keys_of_other_kinds_are_refused() {
    for name in [
        "ec_p_384",
        "ec_secp256k1",
        "ec_p_256_explicit",
        "rsa_pss",
        "x25519",
        "ed448",
    ] {
        assert_eq!(read(name), Err(InvalidPublicKey::Kind), "{name}");
    }
    assert_eq!(read("ec_p_256_compressed"), Err(InvalidPublicKey::Numbers));
}

#[test]
fn weak_rsa_keys_are_refused() {
    assert_eq!(read("rsa_1024"), Err(InvalidPublicKey::RsaSize(1024)));
    assert_eq!(read("rsa_2048_exponent_3"), Err(InvalidPublicKey::RsaExponent));
    let (n, e) = rsa_numbers();
    for weak in [
        &[][..],
        &[0],
        &[1],
        &[3],
        &[1, 0, 0],
        &[1, 0, 2],
        &[1, 0, 0, 0, 1],
    ] {
        assert_eq!(
            PublicKey::from_rsa(&n, weak),
            Err(InvalidPublicKey::RsaExponent),
            "{weak:?}"
        );
    }
    let mut even = n.clone();
    *even.last_mut().unwrap() &= 0xfe;
    assert_eq!(PublicKey::from_rsa(&even, &e), Err(InvalidPublicKey::Numbers));
    assert_eq!(
        PublicKey::from_rsa(&n[1..], &e),
        Err(InvalidPublicKey::RsaSize(bits(&n[1..])))
    );
    assert_eq!(
        PublicKey::from_rsa(&[0xff; 1025], &e),
        Err(InvalidPublicKey::RsaSize(8200))
    );
    assert_eq!(PublicKey::from_rsa(&[], &e), Err(InvalidPublicKey::RsaSize(0)));
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    (number.len() - zeros) * 8 - number[zeros].leading_zeros() as usize
}

#[test]
fn leading_zeros_do_not_make_another_key() {
    let (n, e) = rsa_numbers();
    let padded = PublicKey::from_rsa(&[&[0, 0], &n[..]].concat(), &[&[0], &e[..]].concat()).unwrap();
    assert_eq!(padded.thumbprint(), read("rsa_2048").unwrap().thumbprint());
}

#[test]
fn points_off_their_curve_are_refused() {
    let PublicKey::P256 { x, mut y } = read("ec_p_256").unwrap() else {
        panic!("not a P-256 key");
    };
    y[31] ^= 1;
    for (x, y) in [
        (&x[..], &y[..]),
        (&[0; 32], &[0; 32]),
        (&[0xff; 32], &[0xff; 32]),
        (&x[1..], &y[..]),
    ] {
        assert_eq!(PublicKey::from_p256(x, y), Err(InvalidPublicKey::Numbers));
    }
    for x in [&[2; 31][..], &[2; 33], &[]] {
        assert_eq!(
            PublicKey::from_ed25519(x),
            Err(InvalidPublicKey::Numbers),
            "{x:?}"
        );
    }
}

/// With the neutral element as key, `R = S·B` for S = 0 is the neutral element too, for every message.
#[test]
fn points_of_small_order_are_refused() {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let order_eight = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let mut order_eight: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&order_eight[at..at + 2], 16).unwrap())
        .collect();
    for sign in [0x00, 0x80] {
        neutral[31] |= sign;
        order_eight[31] |= sign;
        for x in [&neutral[..], &[0; 32], &order_eight] {
            assert_eq!(PublicKey::from_ed25519(x), Err(InvalidPublicKey::Weak), "{x:?}");
        }
    }
}

#[test]
fn line_ends_indentation_and_surroundings_do_not_matter() {
    let good = pem("rsa_2048");
    let indented: String = good.lines().map(|line| format!("    {line}\n")).collect();
    let one_line = good.replacen("-----\n", "----- ", 1).replace('\n', "");
    for text in [
        good.replace('\n', "\r\n"),
        good.replace('\n', "\r"),
        indented,
        one_line,
        format!("\u{feff}Here is our key:\n\n{good}\nThank you!\n"),
        good.trim_end().to_owned(),
    ] {
        assert_eq!(PublicKey::from_pem(&text), read("rsa_2048"), "{text}");
    }
}

#[test]
fn what_was_pasted_instead_of_a_key_is_named() {
    let good = pem("rsa_2048");
    // Written in two parts, so that no search for private keys finds this file.
    let private = |kind: &str| {
        format!(
            "-----BEGIN {kind}PRIVATE {key}-----\nAAAA\n-----END {kind}PRIVATE {key}-----\n",
            key = "KEY"
        )
    };
    for kind in ["", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH "] {
        let text = private(kind);
        assert_eq!(PublicKey::from_pem(&text), Err(InvalidPublicKey::PrivateKey));
        let both = format!("{good}{text}");
        assert_eq!(PublicKey::from_pem(&both), Err(InvalidPublicKey::PrivateKey));
    }
    assert_eq!(read("certificate"), Err(InvalidPublicKey::Certificate));
    for (text, expected) in [
        (
            format!("{good}{}", pem("ec_p_256")),
            InvalidPublicKey::SeveralBlocks,
        ),
        (format!("{good}{good}"), InvalidPublicKey::SeveralBlocks),
        (String::new(), InvalidPublicKey::NoPem),
        (
            "ssh-rsa AAAAB3NzaC1yc2E= me@home".to_owned(),
            InvalidPublicKey::NoPem,
        ),
        (
            good.replace("PUBLIC KEY", "PGP MESSAGE"),
            InvalidPublicKey::Label("PGP MESSAGE".to_owned()),
        ),
        (good.replace("-----END", "----END"), InvalidPublicKey::Damaged),
        (good.replacen('M', "", 1), InvalidPublicKey::Damaged),
        (good.replacen('M', "*", 1), InvalidPublicKey::Damaged),
        (
            pem("rsa_2048").replace("PUBLIC", "RSA PUBLIC"),
            InvalidPublicKey::Damaged,
        ),
        (
            pem("rsa_2048_pkcs1").replace("RSA PUBLIC", "PUBLIC"),
            InvalidPublicKey::Damaged,
        ),
        (
            good.clone() + &" ".repeat(PEM_BYTES_MAX),
            InvalidPublicKey::TooLong,
        ),
    ] {
        assert_eq!(PublicKey::from_pem(&text), Err(expected), "{text}");
    }
}

#[test]
fn a_key_verifies_with_algorithms_of_its_kind_only() {
    let id = KeyId::parse("key-1").unwrap();
    for (name, fitting) in [
        ("rsa_2048", &[Algorithm::Rs256, Algorithm::Ps256][..]),
        ("ec_p_256", &[Algorithm::Es256]),
        ("ed25519", &[Algorithm::EdDsa]),
    ] {
        for algorithm in Algorithm::ALL {
            let made = VerifyingKey::new(id.clone(), read(name).unwrap(), algorithm);
            assert_eq!(made.is_ok(), fitting.contains(&algorithm), "{name} {algorithm:?}");
        }
    }
}

/// RFC 7638 section 3.1.
#[test]
fn the_thumbprint_of_the_rfc_is_ours() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRX\
             jBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8\
             KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xB\
             niIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let key = PublicKey::from_rsa(&decoded(n), &decoded("AQAB")).unwrap();
    assert_eq!(
        key.thumbprint().to_string(),
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    );
}

/// RFC 8037 appendices A.3 and A.4: an Ed25519 key, its thumbprint, and a signature by it.
#[test]
fn the_ed25519_example_of_the_rfc_verifies() {
    let public = PublicKey::from_ed25519(&decoded("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")).unwrap();
    assert_eq!(
        public.thumbprint().to_string(),
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
    let key = VerifyingKey::new(KeyId::parse("rfc").unwrap(), public, Algorithm::EdDsa).unwrap();
    let signature =
        decoded("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
    let input = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    assert!(key.verifies(input, &signature));
    assert!(!key.verifies(&input[1..], &signature));
}
