// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// An upgrade that begins when the process before this one has left.
struct WaitingUpgrade {
    let reply: Reply<UpgradeReport>
    /// How to start the successor; nil: as configured.
    let start: Upgrader.Successor?
}
