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

/// What the kernel says of a descriptor. Everything that a peer or the environment claims is checked against it.
package struct DescriptorFacts: Hashable, Sendable {
    package var isSocket: Bool
    /// SOCK_STREAM or SOCK_DGRAM; nil for what is no socket.
    package var socketType: CInt?
    /// listen(2) has been called on it.
    package var isListening: Bool
    package var isRegularFile: Bool
    package var inode: UInt64

    /// Asks fstat(2), getsockopt(2), and whether it listens.
    package init(of descriptor: CInt) throws(SystemCallError) {
        var status = stat()
        try check("fstat") { fstat(descriptor, &status) }
        self.inode = UInt64(status.st_ino)
        self.isRegularFile = status.st_mode & S_IFMT == S_IFREG
        self.isSocket = status.st_mode & S_IFMT == S_IFSOCK
        self.socketType = self.isSocket ? Self.option(SO_TYPE, of: descriptor) : nil
        self.isListening = self.isSocket && tf_is_listening(descriptor) == 1
    }

    /// Whether something of this kind can be it.
    package func fits(_ kind: DescriptorKind) -> Bool {
        switch kind {
        case .listener: self.isSocket && self.isListening
        case .datagram: self.isSocket && self.socketType == Platform.datagram
        case .connection: self.isSocket && !self.isListening
        case .file: true
        case .state: self.isRegularFile
        }
    }

    /// Whether something of this kind can be it: as ``fits(_:)``, with the one question that tells. Anything can be a
    /// file.
    package static func number(_ descriptor: CInt, fits kind: DescriptorKind) -> Bool {
        switch kind {
        case .listener: tf_is_listening(descriptor) == 1
        case .datagram: self.option(SO_TYPE, of: descriptor) == Platform.datagram
        case .connection: tf_is_listening(descriptor) == 0
        case .file: true
        case .state: (try? DescriptorFacts(of: descriptor))?.isRegularFile ?? false
        }
    }

    /// Whether bytes have arrived at a connection that nobody has read: recv(2), MSG_PEEK. The peer's end is none.
    package static func hasUnread(_ connection: CInt) -> Bool {
        while true {
            var byte: UInt8 = 0
            let count = recv(connection, &byte, 1, CInt(MSG_PEEK) | CInt(MSG_DONTWAIT))
            if count >= 0 || errno != EINTR { return count > 0 }
        }
    }

    /// Whether bytes were sent that the peer's system has not confirmed.
    package static func hasUnconfirmed(_ connection: CInt) -> Bool { tf_unconfirmed(connection) > 0 }

    /// Whether a connection waits in a listener's queue: poll(2).
    package static func hasWaiting(_ listener: CInt) -> Bool {
        var entry = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, 0) > 0 && entry.revents & Int16(POLLIN) != 0
    }

    /// nil: the number is not open. Not every system tells two sockets apart by it: Darwin's TCP sockets all have 0.
    package static func inode(of descriptor: CInt) -> UInt64? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    /// What ``inodes(of:)`` says of a number that is not open.
    package static let notOpen = UInt64.max

    /// The inodes behind many numbers, in their order.
    package static func inodes(of descriptors: [CInt]) -> [UInt64] {
        // An array of no elements is one object for the whole process, and filling it writes its count.
        if descriptors.isEmpty { return [] }
        return [UInt64](unsafeUninitializedCapacity: descriptors.count) { inodes, count in
            // SAFETY: both have room for as many, and the call writes each one.
            tf_inodes(descriptors, descriptors.count, inodes.baseAddress)
            count = descriptors.count
        }
    }

    private static func option(_ name: CInt, of descriptor: CInt) -> CInt? {
        var value: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(descriptor, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
    }
}
