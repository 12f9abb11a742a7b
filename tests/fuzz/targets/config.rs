//! Config files: any text is a config, or a list of problems that each say something.

use std::path::Path;

use portcullis::config::load_text;

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    // No other file exists.
    let path = Path::new("/nonexistent/portcullis.yaml");
    match load_text(path, text) {
        Ok(config) => assert!(!format!("{config:?}").is_empty()),
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused without a reason");
            for problem in &error.problems {
                assert!(!problem.message.is_empty());
                // To YAML, a lone carriage return ends a line, too.
                let lines = text.split(['\n', '\r']).count() as u64 + 1;
                assert!(
                    problem.place.is_none_or(|(line, _)| (1..=lines).contains(&line)),
                    "a place outside the file"
                );
            }
            assert!(!error.to_string().is_empty());
        }
    }
}
