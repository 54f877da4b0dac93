// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Where a service manager hears what its services say of themselves: datagrams of lines `NAME=VALUE` to a Unix socket
/// (sd_notify(3), "Description" and "Notes").
package struct NotifySocket: Hashable, Sendable {
    package static let variable = "NOTIFY_SOCKET"

    /// As the variable has it: a path, or `@` and an abstract name.
    package let address: String

    package init(address: String) { self.address = address }

    /// Whether tableflip-run is the manager, by the place where it makes its socket.
    package var isOfRunner: Bool { self.address.hasPrefix(NotifyPlace.prefix) }

    /// The one that the environment names; nil: this process was not started by such a manager.
    package static func ofEnvironment() -> NotifySocket? {
        ProcessEnvironment.value(of: self.variable).flatMap { $0.isEmpty ? nil : NotifySocket(address: $0) }
    }

    /// Sends one datagram, with a socket of its own, so that a manager that has been restarted is found again.
    /// The lines, `NAME=VALUE` each, arrive together or not at all. What the descriptors stand for travels along; they are
    /// borrowed. `patience`: how long to wait when the manager's queue is full.
    package func send(
        _ lines: [String], descriptors: [CInt] = [], within patience: Duration = .seconds(1)
    ) throws(SystemCallError) {
        try self.send(Array(lines.joined(separator: "\n").utf8), descriptors: descriptors, within: patience)
    }

    /// The same of lines in bytes, as they came from elsewhere.
    package func send(
        _ bytes: [UInt8], descriptors: [CInt] = [], within patience: Duration = .seconds(1)
    ) throws(SystemCallError) {
        guard let target = self.target else { throw SystemCallError("connect", EAFNOSUPPORT) }
        let socket = OwnedDescriptor(
            takingOwnershipOf: try check("socket") { tf_socket(AF_UNIX, Platform.datagram, 0) })
        let number = socket.borrowed
        try target.connect(number)
        let deadline = Moment.now + patience
        while true {
            // SAFETY: both buffers live through the call, which reads no more than the lengths given.
            let sent = bytes.withUnsafeBytes { bytes in
                descriptors.withUnsafeBufferPointer {
                    tf_send(number, bytes.baseAddress, bytes.count, $0.baseAddress, $0.count)
                }
            }
            if sent >= 0 { return }
            let failure = SystemCallError("sendmsg")
            if failure.number == EINTR { continue }
            let left = Moment.now.duration(to: deadline)
            guard left > .zero else { throw failure }
            var poll = Poll<Void>()
            switch failure.number {
            case EAGAIN:
                poll.add((), number, Int16(POLLOUT))
                _ = poll.wait(left)
            // Darwin's word for a full queue, of which poll(2) tells nothing there.
            case ENOBUFS: _ = poll.wait(min(left, .milliseconds(10)))
            default: throw failure
            }
        }
    }

    /// Waits until the manager has dealt with everything that was sent before (`BARRIER=1`), and says whether it has, in
    /// this time.
    package func waitForManager(within patience: Duration) throws(SystemCallError) -> Bool {
        let pipe = try Pipe()
        try self.send(["BARRIER=1"], descriptors: [pipe.writing.borrowed], within: patience)
        pipe.writing.close()
        // The manager closes its copy when it comes to the message: that was the last one.
        return Poll.isReadable(pipe.reading.borrowed, within: patience)
    }

    private var target: UnixAddress? {
        self.address.hasPrefix("@")
            ? UnixAddress(abstract: String(self.address.dropFirst())) : UnixAddress(self.address)
    }
}
