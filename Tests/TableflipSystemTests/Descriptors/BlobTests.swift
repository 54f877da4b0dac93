// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite struct BlobTests {
    @Test(arguments: Kernel.allCases, [0, 1, 4096, 3_000_000])
    func `what was written is read, as often as it is asked for`(_ kernel: Kernel, _ size: Int) throws {
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let blob = try Blob.make(bytes, name: String(repeating: "ü/", count: 200), kernel.capabilities)
        #expect(isCloseOnExec(blob.borrowed))
        #expect(try DescriptorFacts(of: blob.borrowed).fits(.state))
        #expect(try Blob.read(blob.borrowed) == bytes)
        #expect(try Blob.read(blob.borrowed) == bytes)
    }

    @Test func `what is no file cannot be read`() throws {
        var ends: [CInt] = [-1, -1]
        #expect(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        #expect(try !DescriptorFacts(of: ends[0]).fits(.state))
        #expect(throws: SystemCallError.self) { _ = try Blob.read(CInt.max - 1) }
    }

    #if os(Linux)
    @Test func `nobody can change sealed memory, and it has no name in any directory`() throws {
        let blob = try Blob.make([1, 2, 3], name: "x", .current)
        #expect(pwrite(blob.borrowed, "x", 1, 0) == -1 && errno == EPERM)
        #expect(ftruncate(blob.borrowed, 0) == -1 && errno == EPERM)
        #expect(ftruncate(blob.borrowed, 10) == -1 && errno == EPERM)
        for kernel in Kernel.allCases {
            let blob = try Blob.make([1], name: "x", kernel.capabilities)
            var status = stat()
            #expect(fstat(blob.borrowed, &status) == 0 && status.st_nlink == 0)
        }
    }
    #endif
}
