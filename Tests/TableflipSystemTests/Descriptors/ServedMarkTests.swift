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

@Suite struct ServedMarkTests {
    @Test func `the mark is seen by every descriptor of the connection, and by no other end of it`() throws {
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        let theirs = OwnedDescriptor(takingOwnershipOf: pair.theirs)
        let duplicate = try ours.duplicate()
        #expect(!ServedMark.isSet(on: duplicate.borrowed))
        ServedMark.set(on: ours.borrowed)
        ours.close()
        #expect(ServedMark.isSet(on: duplicate.borrowed))
        #expect(!ServedMark.isSet(on: theirs.borrowed))
        ServedMark.clear(on: duplicate.borrowed)
        #expect(!ServedMark.isSet(on: duplicate.borrowed))
    }

    @Test(arguments: [0, 5]) func `it is made once, and leaves the time that the application had set`(
        _ seconds: Int
    ) throws {
        let pair = try ChannelSocket.pair()
        let ours = OwnedDescriptor(takingOwnershipOf: pair.ours)
        OwnedDescriptor(takingOwnershipOf: pair.theirs).close()
        var time = timeval()
        time.tv_sec = .init(seconds)
        var size = socklen_t(MemoryLayout<timeval>.size)
        #expect(setsockopt(ours.borrowed, SOL_SOCKET, SO_SNDTIMEO, &time, size) == 0)
        for _ in 0..<2 { ServedMark.set(on: ours.borrowed) }
        #expect(ServedMark.isSet(on: ours.borrowed))
        for _ in 0..<2 { ServedMark.clear(on: ours.borrowed) }
        #expect(getsockopt(ours.borrowed, SOL_SOCKET, SO_SNDTIMEO, &time, &size) == 0)
        #expect(time.tv_sec == seconds && time.tv_usec == 0)
    }

    @Test func `what is no socket has none`() throws {
        var ends: [CInt] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let reading = OwnedDescriptor(takingOwnershipOf: ends[0])
        let writing = OwnedDescriptor(takingOwnershipOf: ends[1])
        ServedMark.set(on: reading.borrowed)
        ServedMark.clear(on: writing.borrowed)
        #expect(!ServedMark.isSet(on: reading.borrowed))
    }
}
