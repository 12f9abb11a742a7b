//! The feed of the gateways, and several control planes on one store.

mod leases;
mod publish;
mod several_control_planes;
