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

@Suite struct SystemCallErrorTests {
    @Test func `an error names the call and says what the system said`() {
        #expect(SystemCallError("bind", EADDRINUSE).description == "bind: Address already in use")
        errno = EPERM
        #expect(SystemCallError("kill").number == EPERM)
    }

    @Test func `a call that a signal interrupts is made again`() throws {
        var calls = 0
        let result = try check("read") {
            calls += 1
            errno = EINTR
            return calls < 4 ? -1 : 17
        }
        #expect(result == 17)
        #expect(calls == 4)
    }

    @Test func `a call that fails is not made again`() {
        var calls = 0
        #expect(throws: SystemCallError("read", EIO)) {
            try check("read") {
                calls += 1
                errno = EIO
                return -1
            }
        }
        #expect(calls == 1)
    }

    @Test func `a failed call becomes an error in the library's words`() throws {
        let error = try #require(throws: UpgradeError.self) {
            _ = try UpgradeError.wrapping("the channel cannot be made", .system) { () throws(SystemCallError) in
                try check("socketpair") {
                    errno = EMFILE
                    return -1
                }
            }
        }
        #expect(error.code == .system)
        #expect(error.message == "the channel cannot be made: socketpair: Too many open files")
        let five = try UpgradeError.wrapping("nothing") { () throws(SystemCallError) in 5 }
        #expect(five == 5)
    }
}
