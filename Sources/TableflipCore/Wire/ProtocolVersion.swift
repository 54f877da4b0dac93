// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// A version of the handshake. Both sides say which they speak; the highest that both know is spoken.
package struct ProtocolVersion: RawRepresentable, Hashable, Comparable, Sendable {
    package var rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let one = ProtocolVersion(rawValue: 1)

    /// What this library speaks.
    package static let supported = ProtocolVersion.one...ProtocolVersion.one

    package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// The version that the two will speak; nil where they have none in common.
    package static func common(
        _ ours: ClosedRange<ProtocolVersion>, _ theirs: ClosedRange<ProtocolVersion>
    ) -> ProtocolVersion? {
        ours.overlaps(theirs) ? min(ours.upperBound, theirs.upperBound) : nil
    }
}
