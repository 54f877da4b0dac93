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

/// Bytes behind a descriptor, to be handed to another process.
package enum Blob {
    /// More is a file of the application's own, which it can carry as such.
    package static let sizeLimit = 1 << 30

    /// Where memory can be sealed, nobody can change what was written, whoever gets the descriptor.
    package static func make(
        _ bytes: [UInt8], name: String, _ capabilities: Capabilities
    ) throws(SystemCallError) -> OwnedDescriptor {
        guard bytes.count <= self.sizeLimit else { throw SystemCallError("write", EFBIG) }
        // Linux takes 249 bytes (memfd_create(2)), and shows them in /proc only.
        let label = String(decoding: name.utf8.prefix(32), as: UTF8.self)
        let blob = OwnedDescriptor(
            takingOwnershipOf: capabilities.sealsMemory
                ? try check("memfd_create") { tf_sealable_memory(label) }
                : try check("mkstemp") { tf_unlinked_file() }
        )
        let number = blob.borrowed
        var offset = 0
        while offset < bytes.count {
            // SAFETY: the pointer is valid for the call, which reads no more than the count.
            let written = bytes[offset...].withUnsafeBytes { pwrite(number, $0.baseAddress, $0.count, off_t(offset)) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { throw SystemCallError("pwrite") }
            offset += written
        }
        if capabilities.sealsMemory { try check("fcntl") { tf_seal(number) } }
        return blob
    }

    /// Reads it from its start, wherever the offset stands that all duplicates share.
    package static func read(_ descriptor: CInt) throws(SystemCallError) -> [UInt8] {
        var status = stat()
        try check("fstat") { fstat(descriptor, &status) }
        guard status.st_size >= 0, status.st_size <= self.sizeLimit else { throw SystemCallError("read", EFBIG) }
        let size = Int(status.st_size)
        // An array of no elements is one object for the whole process, and filling it writes its count.
        if size == 0 { return [] }
        var failure: SystemCallError?
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            while count < size {
                // SAFETY: the buffer has room for `size` bytes, of which `count` are filled.
                let rest = UnsafeMutableBufferPointer(rebasing: buffer[count..<size])
                let read = pread(descriptor, rest.baseAddress, rest.count, off_t(count))
                if read < 0, errno == EINTR { continue }
                if read < 0 { failure = SystemCallError("pread") }
                if read <= 0 { break }
                count += read
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
