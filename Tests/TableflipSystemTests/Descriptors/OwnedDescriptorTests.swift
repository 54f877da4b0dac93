// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite struct OwnedDescriptorTests {
    @Test func `a descriptor is closed when its owner goes out of scope`() throws {
        let tracer = try Tracer()
        do {
            let owned = try tracer.giveAway()
            #expect(tracer.isOpenSomewhere)
            owned.withBorrowed { #expect(fcntl($0, F_GETFD) >= 0) }
        }
        #expect(tracer.isClosedEverywhere)
    }

    @Test func `a descriptor is closed at once by close`() throws {
        let tracer = try Tracer()
        let owned = try tracer.giveAway()
        owned.close()
        #expect(tracer.isClosedEverywhere)
    }

    @Test func `a descriptor that was released stays open`() throws {
        let tracer = try Tracer()
        let number: CInt
        do {
            let owned = try tracer.giveAway()
            number = owned.release()
        }
        #expect(tracer.isOpenSomewhere)
        OwnedDescriptor(takingOwnershipOf: number).close()
        #expect(tracer.isClosedEverywhere)
    }

    @Test func `a duplicate is the same file with an owner of its own, close-on-exec`() throws {
        let tracer = try Tracer()
        let owned = try tracer.giveAway()
        let duplicate = try owned.duplicate()
        #expect(duplicate.borrowed != owned.borrowed)
        #expect(isCloseOnExec(duplicate.borrowed))
        #expect(try DescriptorFacts(of: duplicate.borrowed).inode == DescriptorFacts(of: owned.borrowed).inode)
        owned.close()
        #expect(tracer.isOpenSomewhere)
        duplicate.close()
        #expect(tracer.isClosedEverywhere)
    }

    @Test func `a duplicate never lands on a standard stream`() async {
        await #expect(processExitsWith: .success) {
            close(0)
            let duplicate = try OwnedDescriptor(duplicating: 2)
            #expect(duplicate.borrowed >= 3)
            #expect(isCloseOnExec(duplicate.borrowed))
        }
    }

    @Test func `what is not open cannot be duplicated`() {
        #expect(throws: SystemCallError("fcntl", EBADF)) {
            _ = try OwnedDescriptor(duplicating: CInt.max - 1)
        }
    }

    @Test func `what borrows may throw its own error`() throws {
        struct Mine: Error {}
        let tracer = try Tracer()
        let owned = try tracer.giveAway()
        #expect(throws: Mine.self) {
            try owned.withBorrowed { (_: CInt) throws(Mine) in throw Mine() }
        }
        #expect(tracer.isOpenSomewhere)
    }

    @Test func `closing a number behind its owner's back stops the program`() async {
        await #expect(processExitsWith: .failure) {
            let owned = OwnedDescriptor(takingOwnershipOf: dup(2))
            close(owned.borrowed)
            owned.close()
        }
    }

    @Test func `closing a number behind its owner's back stops the program also at the end of a scope`() async {
        await #expect(processExitsWith: .failure) {
            do {
                let owned = OwnedDescriptor(takingOwnershipOf: dup(2))
                _ = owned.withBorrowed { close($0) }
            }
        }
    }

    @Test func `a negative number has no owner`() async {
        await #expect(processExitsWith: .failure) { _ = OwnedDescriptor(takingOwnershipOf: -1) }
    }
}
