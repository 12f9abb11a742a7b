//! HTTP/2 written and read frame by frame (RFC 9113 section 4), so that every rule can be broken.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Wire;
use crate::wait::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const WITH_PRIORITY: u8 = 0x20;

/// Error codes of RFC 9113 section 7.
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL: u32 = 1;
    pub const FLOW_CONTROL: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE: u32 = 6;
    pub const COMPRESSION: u32 = 9;
    pub const CALM: u32 = 11;
}

/// A frame as it came.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of a `RST_STREAM` or `GOAWAY`.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A header block in which nothing is indexed or compressed (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            integer(&mut out, text.len());
            out.extend(text.bytes());
        }
    }
    out
}

/// A length with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(out: &mut Vec<u8>, value: usize) {
    if value < 127 {
        out.push(u8::try_from(value).unwrap());
        return;
    }
    out.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// A connection of frames.
pub struct Frames {
    stream: Box<dyn Wire>,
}

impl Frames {
    /// With prior knowledge, after preface and settings of both sides.
    pub async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream).await
    }

    pub async fn over(stream: impl Wire + 'static) -> Self {
        let mut frames = Self {
            stream: Box::new(stream),
        };
        frames.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(&frame(SETTINGS, 0, 0, b"")).await;
        // Acknowledged here and now: later, it might stand in the middle of something.
        if within("the gateway's settings", frames.read()).await.is_some() {
            frames.send(&frame(SETTINGS, ACK, 0, b"")).await;
        }
        frames
    }

    /// Sends bytes; a gateway that has closed meanwhile is no error here.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        within("the gateway took the frames", sending).await.is_ok()
    }

    /// The next frame, `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame from the gateway", self.read()).await
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload,
        })
    }

    /// The code that the connection ends with: of a `GOAWAY`, or `None` where it just ends.
    pub async fn end(&mut self) -> Option<u32> {
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY && frame.code() != code::NO_ERROR {
                return Some(frame.code());
            }
        }
        None
    }

    /// What becomes of a stream.
    pub async fn fate(&mut self, stream: u32) -> Fate {
        let mut body = Vec::new();
        loop {
            let Some(frame) = self.next().await else {
                return Fate::Gone;
            };
            match frame.kind {
                GOAWAY if frame.code() != code::NO_ERROR => return Fate::ConnectionError(frame.code()),
                RST_STREAM if frame.stream == stream => return Fate::Reset(frame.code()),
                DATA if frame.stream == stream => body.extend(&frame.payload),
                HEADERS if frame.stream == stream => {}
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 {
                return Fate::Answered(String::from_utf8_lossy(&body).into_owned());
            }
        }
    }
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// With this body.
    Answered(String),
    Reset(u32),
    ConnectionError(u32),
    /// The connection ended without a word.
    Gone,
}
