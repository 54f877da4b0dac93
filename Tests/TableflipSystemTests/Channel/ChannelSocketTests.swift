// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
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

@Suite(.timeLimit(.minutes(5))) struct ChannelSocketTests {
    // MARK: Messages and their descriptors

    @Test(arguments: Kernel.allCases, [0, 1, 2, 253])
    func `a message arrives with its descriptors, in order and close-on-exec`(
        _ kernel: Kernel, _ count: Int
    ) throws {
        let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
        let tracers = [try Tracer(), try Tracer(), try Tracer()]
        let order = (0..<count).map { $0 * $0 % 3 }
        ours.send(.offer(count), descriptors: order.map { tracers[$0].descriptor })
        ours.send(.go)

        let expected = try order.map { Heard.Descriptor(inode: try tracers[$0].inode, isCloseOnExec: true) }
        #expect(theirs.hear() == [.message(.offer(count), expected), .message(.go, [])])
        // What is sent is borrowed, and what arrived was closed by its owner: nothing else holds a copy.
        for tracer in tracers {
            #expect(tracer.isOpenSomewhere)
            tracer.letGo()
            #expect(tracer.isClosedEverywhere)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `what one side says the other hears, both ways`(_ kernel: Kernel) throws {
        let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
        #expect(ours.hear() == [])
        let lifeline = try Lifeline(capabilities: kernel.capabilities)
        let hello = Message.hello(.init(generation: 1, process: 1))
        ours.send(hello, descriptors: [lifeline.descriptor])
        theirs.send(.acknowledgement(.init(.initialOffer, received: 3)))
        theirs.send(.committed)
        #expect(theirs.hear().map(\.message) == [hello])
        #expect(ours.hear().map(\.message) == [.acknowledgement(.init(.initialOffer, received: 3)), .committed])
    }

    @Test(arguments: Kernel.allCases)
    func `what is not open is noticed, and does not go out`(_ kernel: Kernel) throws {
        let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
        ours.send(.commit)
        #expect(ours.deadline == nil)
        ours.send(.offer(1), descriptors: [-1])
        #expect(try #require(ours.deadline) <= Moment.now)
        // Nor does what comes behind it, until that is known.
        ours.send(.offer(2), descriptors: [0, 0])
        ours.send(.go)
        #expect(ours.hear() == [.failed(SystemCallError("sendmsg", EBADF))])
        #expect(ours.unsentDescriptors == 3)
        ours.send(.commit)
        #expect(theirs.hear() == [.message(.commit, []), .message(.commit, [])])
    }

    @Test func `both ends of a pair are close-on-exec`() throws {
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        #expect(isCloseOnExec(ours.borrowed))
        #expect(isCloseOnExec(theirs.borrowed))
    }

    @Test func `our end learns from the kernel who speaks`() throws {
        let (ours, theirs) = try ChannelSocket.connected(.current)
        #expect(ours.peer == 0)
        theirs.send(.go)
        #expect(ours.hear() == [.message(.go, [])])
        #expect(ours.peer == ProcessID.current)
    }

    @Test func `another process that holds the other end is told apart from us`() async throws {
        let pair = try ChannelSocket.pair()
        let ours = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: .current)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        let octal = Message.go.encoded().map { "\\" + String($0 / 64) + String($0 / 8 % 8) + String($0 % 8) }
        // It must be there still when the kernel is asked for it.
        let script = "printf '\(octal.joined())' >&3; exec head -c 1 <&3 >&2"
        let process = try Shell(script).start(channel: theirs.borrowed)
        theirs.close()
        let number = ours.descriptor
        #expect(try await onItsOwnThread { readable(number) })
        #expect(ours.hear() == [.message(.go, [])])
        #expect(ours.peer == process.id)
        ours.send(.go)
        #expect(try await process.ending == .exited(0))
    }

    @Test func `a message with another number of descriptors than it declares is not sent`() async {
        await #expect(processExitsWith: .failure) {
            let (ours, _) = try ChannelSocket.connected(.current)
            ours.send(.offer(2), descriptors: [0])
        }
    }

    // MARK: Full sockets

    @Test(arguments: Kernel.allCases)
    func `many batches pass through a full socket, and neither side blocks`(_ kernel: Kernel) throws {
        let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
        let tracer = try Tracer()
        let batches = 60
        let size = kernel.capabilities.descriptorsPerMessage
        for batch in 0..<batches {
            let offer = Message.offer(size, first: batch * size, total: batches * size)
            ours.send(offer, descriptors: Array(repeating: tracer.descriptor, count: size))
        }
        var heard: [Message] = []
        var rounds = 0
        while heard.count < batches, rounds < 100_000 {
            rounds += 1
            heard += theirs.hear().compactMap(\.message)
            ours.peerMadeProgress()
        }
        #expect(heard == (0..<batches).map { .offer(size, first: $0 * size, total: batches * size) })
        #expect(ours.interest & Int16(POLLOUT) == 0)
        tracer.letGo()
        #expect(tracer.isClosedEverywhere)
    }

    @Test func `both sides may send more than the socket takes before either reads`() throws {
        let (ours, theirs) = try ChannelSocket.connected(.current)
        let blob = [UInt8](repeating: 7, count: WireLimit.connectionState)
        let batch = Message.connections(.init(announced: 1, entries: [.init(listener: "", unread: blob, state: blob)]))
        let tracer = try Tracer()
        for _ in 0..<8 {
            ours.send(batch, descriptors: [tracer.descriptor])
            theirs.send(batch, descriptors: [tracer.descriptor])
        }
        // One has left, the beginning of its message at least.
        #expect((1..<8).contains(ours.unsentDescriptors))
        // Neither call above has blocked, and neither socket has room for four megabytes.
        #expect(ours.interest & Int16(POLLOUT) != 0)
        #expect(theirs.interest & Int16(POLLOUT) != 0)
        var heard = (ours: 0, theirs: 0)
        var rounds = 0
        while heard.ours < 8 || heard.theirs < 8, rounds < 100_000 {
            rounds += 1
            heard.ours += ours.hear().count { $0.message == batch }
            theirs.flush()
            heard.theirs += theirs.hear().count { $0.message == batch }
            ours.flush()
        }
        #expect(heard == (8, 8))
        #expect(ours.unsentDescriptors == 0)
    }

    #if os(Linux)
    @Test func `when the kernel refuses more descriptors in flight, sending goes on after the next acknowledgement`()
        async
    {
        await #expect(processExitsWith: .success) {
            let (ours, theirs) = try ChannelSocket.connected(.current)
            let tracer = try Tracer()
            // The limit on descriptors in flight is that on open ones. It counts what a user has in flight in all
            // processes, and does not bind the superuser (unix(7)).
            try OpenFileLimit.current.with(soft: 64).set()
            if getuid() == 0 { try check("setuid") { setuid(0x4000_0000 | uid_t(getpid())) } }
            let hello = Message.hello(.init(generation: 1, process: 1))
            for _ in 0..<200 { ours.send(hello, descriptors: [tracer.descriptor]) }
            var heard = theirs.hear().compactMap(\.message).count
            #expect(heard < 200)
            // Waiting for room would not help, so it is not waited for.
            #expect(ours.interest & Int16(POLLOUT) == 0)
            var rounds = 0
            while heard < 200, rounds < 1000 {
                rounds += 1
                ours.peerMadeProgress()
                heard += theirs.hear().compactMap(\.message).count
            }
            #expect(heard == 200)
        }
    }

    @Test(arguments: [ENOBUFS, ENOMEM, EMSGSIZE])
    func `what the kernel has no room for is sent a moment later`(_ error: CInt) async {
        await #expect(processExitsWith: .success) { [error] in
            let tracer = try Tracer()
            let pair = try ChannelSocket.pair()
            let ours = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: .current)
            let theirs = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.theirs), capabilities: .current)
            // The filter is that of a thread which does nothing else.
            // SAFETY: one thread at a time uses it; this one waits for the other.
            nonisolated(unsafe) let channel = ours
            try await onItsOwnThread { [number = tracer.descriptor] in
                try SystemCallFilter.refuse([(.sendMessage, error)])
                channel.send(.offer(1), descriptors: [number])
            }
            #expect(theirs.hear() == [] && ours.hear() == [])
            // It is not waited for by poll(2), which would say at once that there is room.
            #expect(ours.interest & Int16(POLLOUT) == 0)
            let deadline = try #require(ours.deadline)
            #expect(eventually { deadline <= Moment.now })
            ours.flush()
            let expected = Heard.Descriptor(inode: try tracer.inode, isCloseOnExec: true)
            #expect(theirs.hear() == [.message(.offer(1), [expected])])
            #expect(ours.deadline == nil)
        }
    }
    #endif

    // MARK: Violations

    @Test(arguments: Kernel.allCases)
    func `descriptors that no frame declares are refused and closed`(_ kernel: Kernel) throws {
        // That there are more than declared shows only behind the frame.
        try self.expect(.descriptorsUndeclared(2), kernel, after: [.go]) { socket, descriptor in
            send(Message.go.encoded(), [descriptor, descriptor], on: socket)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `too few descriptors are refused and closed`(_ kernel: Kernel) throws {
        try self.expect(.descriptorsMissing(kind: 2, expected: 3, arrived: 2), kernel) { socket, descriptor in
            send(Message.offer(3).encoded(), [descriptor, descriptor], on: socket)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `one descriptor too many is refused and closed`(_ kernel: Kernel) throws {
        try self.expect(.descriptorsUndeclared(1), kernel, after: [.offer(2)]) { socket, descriptor in
            send(Message.offer(2).encoded(), [descriptor, descriptor, descriptor], on: socket)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `descriptors before a frame that never gets a header are bounded`(_ kernel: Kernel) throws {
        try self.expect(.descriptorsUndeclared(254), kernel) { socket, descriptor in
            // Two of them never get as far as a header of twelve bytes.
            let some = Array(repeating: descriptor, count: 127)
            send([0x54], some, on: socket)
            send([0x46], some, on: socket)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `the descriptors of a broken frame are closed`(_ kernel: Kernel) throws {
        try self.expect(.unknownRequired(kind: 99), kernel) { socket, descriptor in
            var bytes = Message.offer(2).encoded()
            bytes[2] = 99
            send(bytes, [descriptor, descriptor], on: socket)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `the descriptors of an optional message that nobody knows are closed`(_ kernel: Kernel) throws {
        let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
        let tracer = try Tracer()
        var bytes = Message.offer(2).encoded()
        bytes[2] = 99
        bytes[3] = 1
        send(bytes, [tracer.descriptor, tracer.descriptor], on: theirs.descriptor)
        theirs.send(.go)
        let heard = ours.hear()
        #expect(heard.map(\.message) == [.unknown(kind: 99), .go])
        tracer.letGo()
        #expect(tracer.isClosedEverywhere)
    }

    @Test(arguments: Kernel.allCases, [false, true])
    func `an end inside a frame is a violation, and its descriptors are closed`(
        _ kernel: Kernel, _ leavesUnread: Bool
    ) throws {
        let bytes = Message.offer(1).encoded()
        for size in 1..<bytes.count {
            let pair = try ChannelSocket.pair()
            let tracer = try Tracer()
            let ours = ChannelSocket(
                takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: kernel.capabilities)
            do {
                let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
                if leavesUnread { ours.send(.go) }
                send(Array(bytes[..<size]), [tracer.descriptor], on: theirs.borrowed)
            }
            #expect(ours.hearToTheEnd() == [.violation(.endedInsideFrame)], "after \(size) bytes")
            tracer.letGo()
            _ = consume ours
            #expect(tracer.isClosedEverywhere, "after \(size) bytes")
        }
    }

    @Test func `nothing follows a violation`() throws {
        let (ours, theirs) = try ChannelSocket.connected(.current)
        theirs.send(.go)
        send(Array("nonsense that is long enough".utf8), [], on: theirs.descriptor)
        theirs.send(.commit)
        #expect(ours.hear() == [.message(.go, []), .violation(.notAFrame(0x6f6e))])
        theirs.send(.commit)
        #expect(ours.hear() == [])
    }

    @Test(arguments: Kernel.allCases)
    func `no descriptor is left when a channel with a violation is gone`(_ kernel: Kernel) async {
        await #expect(processExitsWith: .success) { [kernel] in
            let census = Census()
            for count in [1, 2, 200, 253] {
                let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
                send(Message.go.encoded(), Array(repeating: theirs.descriptor, count: count), on: theirs.descriptor)
                let heard = ours.hear()
                #expect(heard == [.message(.go, []), .violation(.descriptorsUndeclared(count))], "\(heard)")
            }
            #expect(census.isClean)
        }
    }

    @Test(arguments: Kernel.allCases)
    func `descriptors for which the table has no room are noticed`(_ kernel: Kernel) async {
        await #expect(processExitsWith: .success) { [kernel] in
            let census = Census()
            do {
                let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
                theirs.send(.offer(20), descriptors: Array(repeating: theirs.descriptor, count: 20))
                // Room for five more, wherever there are gaps.
                let free = (0..<4096).filter { fcntl($0, F_GETFD) < 0 }
                try OpenFileLimit.current.with(soft: Int(free[5])).set()
                let heard = ours.hear()
                #expect(heard == [.violation(.descriptorsDropped)], "\(heard)")
            }
            #expect(census.isClean)
        }
    }

    /// As when another part of the program has closed a number that was not its own, and the number is a file by now.
    @Test(arguments: [true, false])
    func `a channel that is none any more is told as such`(_ says: Bool) throws {
        let (ours, _) = try ChannelSocket.connected(.current)
        let file = OwnedDescriptor(takingOwnershipOf: try check("open") { open("/dev/null", O_RDWR | O_CLOEXEC) })
        try check("dup2") { dup2(file.borrowed, ours.descriptor) }
        if says {
            ours.send(.go)
            #expect(try #require(ours.deadline) <= Moment.now)
        }
        #expect(ours.hear() == [.failed(SystemCallError(says ? "sendmsg" : "recvmsg", ENOTSOCK))])
        #expect(ours.hear() == [] && ours.deadline == nil)
    }

    // MARK: Ends

    @Test func `an end is heard once, after everything that was said before it`() throws {
        let pair = try ChannelSocket.pair()
        let ours = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: .current)
        do {
            let theirs = ChannelSocket(
                takingOwnershipOf: .init(takingOwnershipOf: pair.theirs), capabilities: .current
            )
            theirs.send(.commit)
            theirs.send(.bye(.init(moved: 3)))
        }
        #expect(ours.hearToTheEnd() == [.message(.commit, []), .message(.bye(.init(moved: 3)), []), .ended])
        #expect(ours.hear() == [])
    }

    @Test func `what was queued behind a message that had begun to leave has not left when the peer is gone`() throws {
        let pair = try ChannelSocket.pair()
        let ours = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: .current)
        let blob = [UInt8](repeating: 7, count: WireLimit.connectionState)
        let batch = Message.connections(.init(announced: 1, entries: [.init(listener: "", unread: blob, state: blob)]))
        for _ in 0..<8 { ours.send(batch, descriptors: [0]) }
        let unsent = ours.unsentDescriptors
        #expect((1..<8).contains(unsent))
        OwnedDescriptor(takingOwnershipOf: pair.theirs).close()
        ours.send(batch, descriptors: [0])
        #expect(ours.unsentDescriptors == unsent + 1)
    }

    @Test func `an end with what we said unread is an end as well`() throws {
        let pair = try ChannelSocket.pair()
        let ours = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: .current)
        ours.send(.go)
        do {
            let theirs = ChannelSocket(
                takingOwnershipOf: .init(takingOwnershipOf: pair.theirs), capabilities: .current
            )
            theirs.send(.committed)
        }
        #expect(ours.hearToTheEnd() == [.message(.committed, []), .ended])
    }

    @Test func `sending to a peer that is gone neither stops the process nor keeps anything`() throws {
        let pair = try ChannelSocket.pair()
        let ours = ChannelSocket(takingOwnershipOf: .init(takingOwnershipOf: pair.ours), capabilities: .current)
        OwnedDescriptor(takingOwnershipOf: pair.theirs).close()
        for _ in 0..<100 { ours.send(.offer(1), descriptors: [0]) }
        #expect(ours.interest & Int16(POLLOUT) == 0)
        #expect(ours.hearToTheEnd() == [.ended])
        #expect(ours.unsentDescriptors == 100)
    }

    @Test func `reading can be stopped from within what is heard`() throws {
        let (ours, theirs) = try ChannelSocket.connected(.current)
        theirs.send(.go)
        theirs.send(.commit)
        var count = 0
        ours.receive { _ in
            count += 1
            ours.stopReading()
        }
        #expect(count == 1)
        #expect(ours.hear() == [])
    }

    // MARK: -

    /// Sends bytes and descriptors as no correct peer would, and expects that nothing of it stays open.
    private func expect(
        _ error: WireError, _ kernel: Kernel, after first: [Message] = [],
        _ misbehave: (CInt, CInt) -> Void, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let (ours, theirs) = try ChannelSocket.connected(kernel.capabilities)
        let tracer = try Tracer()
        misbehave(theirs.descriptor, tracer.descriptor)
        theirs.send(.commit)
        let heard = ours.hear()
        #expect(heard.compactMap(\.message) == first, sourceLocation: sourceLocation)
        #expect(heard.last == .violation(error), sourceLocation: sourceLocation)
        #expect(ours.hear() == [], sourceLocation: sourceLocation)
        tracer.letGo()
        _ = consume ours
        #expect(tracer.isClosedEverywhere, sourceLocation: sourceLocation)
    }
}

/// One sendmsg(2), past every check of `ChannelSocket`.
private func send(_ bytes: [UInt8], _ descriptors: [CInt], on socket: CInt) {
    #expect(tf_send(socket, bytes, bytes.count, descriptors, descriptors.count) == bytes.count)
}
