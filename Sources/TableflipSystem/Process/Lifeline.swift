// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What a process gives another so that the other learns of its end: a descriptor that polls readable or hung up then.
///
/// On Linux a pidfd of this process; elsewhere the reading end of a pipe whose writing end stays here, close-on-exec,
/// until the kernel closes it. Both say exactly "dead", which the end of a channel does not: whoever holds one needs not
/// know which it is, and neither can be mistaken for another process with the same number.
package final class Lifeline: Sendable {
    private let end: OwnedDescriptor
    /// Never written to, never closed. Its only purpose is to be open for as long as this process lives.
    private let held: OwnedDescriptor?

    package init(capabilities: Capabilities) throws(SystemCallError) {
        if capabilities.hasProcessDescriptors {
            let descriptor = tf_process_descriptor(ProcessID.current)
            if descriptor >= 0 {
                self.end = OwnedDescriptor(takingOwnershipOf: descriptor)
                self.held = nil
                return
            }
        }
        let pipe = try Pipe()
        self.end = pipe.reading
        self.held = .some(pipe.writing)
    }

    /// Borrowed: to be sent to the other process.
    package var descriptor: CInt { self.end.borrowed }
}
