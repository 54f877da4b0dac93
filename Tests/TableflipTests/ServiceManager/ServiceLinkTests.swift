// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem
import Testing

@testable import Tableflip

@Suite struct ServiceLinkTests {
    private let manager: NotifyListener
    private var link: ServiceLink
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    private let now = Moment.now

    init() throws {
        self.manager = try NotifyListener()
        self.link = ServiceLink(
            self.manager.socket, hasPredecessor: false, Timings(.init()), watchdog: Watchdog(microseconds: "4000000"))
    }

    private var heard: [[String]] {
        var all: [[String]] = []
        while let arrival = self.manager.receive() {
            all.append(String(decoding: arrival.bytes, as: UTF8.self).split(separator: "\n").map(String.init))
        }
        return all
    }

    @Test mutating func `the watchdog is told at half of its time, and not while the application is unwell`() {
        self.link.begin(self.now, self.logger)
        _ = self.heard
        #expect(self.link.nextPing == self.now + .seconds(2))
        self.link.ping(self.now + .seconds(1), isWell: true, self.logger)
        #expect(self.heard == [])
        self.link.ping(self.now + .seconds(2), isWell: true, self.logger)
        #expect(self.heard == [["WATCHDOG=1"]])
        self.link.ping(self.now + .seconds(4), isWell: false, self.logger)
        #expect(self.heard == [] && self.link.nextPing == self.now + .seconds(6))
        self.link.ping(self.now + .seconds(6), isWell: true, self.logger)
        #expect(self.heard == [["WATCHDOG=1"]])
    }

    @Test mutating func `a manager that is gone is no failure`() throws {
        let gone = NotifySocket(address: "/nowhere/at/all")
        var link = ServiceLink(gone, hasPredecessor: false, Timings(.init()), watchdog: nil)
        link.begin(self.now, self.logger)
        #expect(link.nextPing == nil)
    }

    @Test mutating func `what is left with the manager comes with its name, and the unwanted is taken out before`()
        throws
    {
        let socket = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let number = socket.borrowed
        let inode = DescriptorFacts.inode(of: number)
        let carried = CarriedDescriptor(
            InventoryEntry(name: "a:b", kind: .listener, address: "tcp://127.0.0.1:0"), socket)
        let old = StoreName(InventoryEntry(name: "old", kind: .listener, address: ""))
        self.link.store([carried], removing: [old], self.logger)
        let removal = try #require(self.manager.receive())
        #expect(String(decoding: removal.bytes, as: UTF8.self) == "FDSTOREREMOVE=1\nFDNAME=tableflip/1/0/old")
        let arrival = try #require(self.manager.receive())
        #expect(String(decoding: arrival.bytes, as: UTF8.self) == "FDSTORE=1\nFDNAME=tableflip/1/0/a%3Ab")
        #expect(arrival.descriptors.count == 1)
        #expect(arrival.descriptors.first.map { DescriptorFacts.inode(of: $0.borrowed) } == inode)
    }
}
