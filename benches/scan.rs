//! Bytes per second of finding the write key in a batch, where it stands last.
//!
//! What would worry us: less than 1 GB/s at 500 KB. `copy` is the speed of memory here.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a bench may fail by panicking"
)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::gateway::read::json::scan::scan;

/// A batch of about `bytes` as the SDKs send it.
fn batch(bytes: usize) -> Vec<u8> {
    let event = |n: usize| {
        format!(
            r#"{{"type":"track","event":"Order Completed","userId":"user-{n:06}","messageId":"00000000-0000-4000-8000-{n:012}","timestamp":"2026-01-01T00:00:00.000Z","properties":{{"total":19.9,"currency":"EUR","note":"with \"quotes\" now and then"}},"context":{{"library":{{"name":"analytics-node-next","version":"latest"}}}}}}"#
        )
    };
    let mut events = Vec::new();
    let mut size = 0;
    while size < bytes {
        let one = event(events.len());
        size += one.len() + 1;
        events.push(one);
    }
    format!(
        r#"{{"batch":[{}],"writeKey":"wk_bench_0001","sentAt":"2026-01-01T00:00:00.000Z"}}"#,
        events.join(",")
    )
    .into_bytes()
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for (name, bytes) in [("1 KB", 1_000), ("100 KB", 100_000), ("500 KB", 500_000)] {
        let body = batch(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| scan(black_box(&body)).unwrap()));
        group.bench_function(format!("{name} copy"), |b| b.iter(|| black_box(&body).clone()));
    }
    group.finish();
}

criterion_group!(benches, sizes);
criterion_main!(benches);
