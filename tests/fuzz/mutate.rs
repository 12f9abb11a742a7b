//! Inputs made from a corpus: flips, cuts, repeats, splices and words that matter to parsers.

/// Words that some reader gives a meaning to.
const WORDS: [&str; 52] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\u004b",
    "\\ud800",
    "\u{212a}",
    "\u{feff}",
    "\0",
    "writeKey",
    "WriteKey",
    "\"batch\":[",
    "null",
    "true",
    "-0",
    "1e999",
    ".5",
    "18446744073709551616",
    "\r\n",
    "\n",
    " ",
    "\t",
    "%2f",
    "%00",
    "%",
    "..",
    "//",
    ";",
    "?",
    "#",
    "&b=",
    "=",
    "+",
    "@",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: a\r\n",
    "Authorization: Bearer a.b.c\r\n",
    "0\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "\"alg\":\"none\"",
    "\"crit\":[]",
    "\"aud\":",
    "\"exp\":",
    "\"jti\":1",
    "at+jwt",
    "_",
    "Expect: 100-continue\r\n",
];

pub struct Mutator {
    state: u64,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        Self { state: seed, corpus }
    }

    /// Another input, of `bytes_max` bytes at most.
    pub fn next(&mut self, bytes_max: usize) -> Vec<u8> {
        let mut input = self.pick();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(bytes_max);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(16)).min(input.len());
        match self.below(8) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                let byte = self.random().to_le_bytes()[0];
                input.insert(at, byte);
            }
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            4 => {
                let other = self.pick();
                let from = self.below(other.len() + 1);
                let until = (from + self.below(64)).min(other.len());
                input.splice(at..end, other[from..until].iter().copied());
            }
            5 => input.truncate(at),
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.below(self.corpus.len());
        self.corpus[at].clone()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random() % bound.max(1) as u64).unwrap()
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
