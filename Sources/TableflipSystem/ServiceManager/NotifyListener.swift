// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The other end of a ``NotifySocket``: what a service manager reads.
package final class NotifyListener: Sendable {
    /// One datagram.
    package struct Arrival {
        package var bytes: [UInt8]
        /// Closed with their last reference.
        package var descriptors: [OwnedNumber]
        /// By the kernel's word; nil where it does not say, as on Linux of a process outside this one's PID namespace.
        package var sender: (process: CInt, user: UInt32)?
    }

    /// A descriptor that is closed with its last reference.
    package final class OwnedNumber: Sendable {
        private let descriptor: OwnedDescriptor

        init(takingOwnershipOf number: CInt) { self.descriptor = OwnedDescriptor(takingOwnershipOf: number) }

        package var borrowed: CInt { self.descriptor.borrowed }
    }

    /// What services find in their environment.
    package let socket: NotifySocket
    private let descriptor: OwnedDescriptor
    private let directory: String?

    /// systemd reads as much (PIPE_BUF, src/core/manager.c).
    private static let longestMessage = 4096

    /// Makes one that only this user's processes reach, or whose senders the kernel names.
    package init() throws(UpgradeError) {
        let place = try UpgradeError.wrapping("no place for a notify socket") { () throws(SystemCallError) in
            try NotifyPlace()
        }
        let options = ListenOptions(configure: { number throws(UpgradeError) in
            _ = try UpgradeError.wrapping("the notify socket cannot be set up") { () throws(SystemCallError) in
                try check("setsockopt") { tf_ask_for_sender(number) }
            }
        })
        let descriptor = try BoundSocket.bind(place.socketAddress, options)
        self.socket = NotifySocket(address: place.address)
        self.directory = place.directory
        self.descriptor = descriptor
    }

    deinit {
        guard let directory = self.directory else { return }
        unlink(self.socket.address)
        rmdir(directory)
    }

    package var number: CInt { self.descriptor.borrowed }

    /// The next datagram; nil when there is none.
    package func receive() -> Arrival? {
        var bytes = [UInt8](repeating: 0, count: Self.longestMessage)
        var numbers = [CInt](repeating: -1, count: Int(TF_DESCRIPTORS_PER_MESSAGE_MAX))
        var received = tf_received()
        var count = -1
        repeat {
            // SAFETY: both buffers live through the call, which writes no more than their lengths.
            count = bytes.withUnsafeMutableBytes { bytes in
                numbers.withUnsafeMutableBufferPointer {
                    tf_receive(
                        self.descriptor.borrowed, bytes.baseAddress, bytes.count, $0.baseAddress, true, &received)
                }
            }
        } while count < 0 && errno == EINTR
        guard count >= 0 else { return nil }
        return Arrival(
            bytes: Array(bytes[..<count]),
            descriptors: numbers.prefix(received.descriptor_count).map { OwnedNumber(takingOwnershipOf: $0) },
            sender: received.sender > 0 ? (received.sender, received.user) : nil
        )
    }
}
