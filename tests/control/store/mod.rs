//! The store: opening, upgrades, clock jumps, large lists.

mod clock_jumps;
mod clock_model;
mod database_tls;
mod opening;
mod pages;
mod upgrade;
