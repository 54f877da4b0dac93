// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What the system can do, as values: policy is the same everywhere, and tests run the poorer values on a richer system.
package struct Capabilities: Hashable, Sendable {
    /// A descriptor can stand for a process (pidfd_open(2), Linux 5.3). Else a thread waits for a child, and a pipe that
    /// nobody closes tells of everyone else's end.
    package var hasProcessDescriptors: Bool
    /// Received descriptors can be close-on-exec from the start (MSG_CMSG_CLOEXEC). Else there is a short gap.
    package var receivesCloseOnExec: Bool
    /// How many descriptors go into one message.
    package var descriptorsPerMessage: Int
    /// A file can be in memory and be sealed (memfd_create(2)). Else it is one that has been unlinked.
    package var sealsMemory: Bool
    /// A process can be started that shares this one's table of descriptors until it takes what it needs (clone(2),
    /// CLONE_FILES; close_range(2), Linux 5.9). Else the whole table is copied.
    package var sharesTables: Bool
    /// How many descriptors may be on their way unacknowledged (unix(7), ETOOMANYREFS).
    package var descriptorsInFlight: Int
    /// A process can be started that is not this one's child (CLONE_PARENT, CLONE_PIDFD).
    package var startsForManager: Bool

    /// What every supported system can do.
    package static let portable = Capabilities(
        hasProcessDescriptors: false, receivesCloseOnExec: false, descriptorsPerMessage: 16, sealsMemory: false,
        sharesTables: false, descriptorsInFlight: 64, startsForManager: false
    )
}
