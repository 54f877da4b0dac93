// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What a successor that serves must still do before the service is its own.
package enum Probation: UInt8, Hashable, Sendable, CaseIterable {
    /// Nothing: commit follows go at once. This is how tableflip upgrades.
    case none = 0
    /// Live for a while. Its predecessor holds the watch.
    case timed = 1
    /// Pass a check of its own, within a time.
    case checked = 2
}
