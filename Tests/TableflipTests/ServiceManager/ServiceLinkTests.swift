// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Dispatch
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

    @Test mutating func `a manager that reads nothing holds this process up once`() {
        self.link.begin(self.now, self.logger)
        self.manager.fill()
        let requested = UpgradeEvent(phase: .requested, generation: 1, peer: 71, elapsed: .zero, error: nil)
        self.link.note(requested, isAlone: false, self.now, self.logger)
        self.link.patience = patience
        let before = Moment.now
        self.link.ping(self.now + .seconds(2), isWell: true, self.logger)
        #expect(before.duration(to: Moment.now) < patience / 2)
        // When it reads again it hears again.
        _ = self.heard
        self.link.ping(self.now + .seconds(4), isWell: true, self.logger)
        #expect(self.heard.first?.first == "WATCHDOG=1")
    }

    /// Has found that the manager's queue is full. It begins to read when it is waited for: this takes a moment, after
    /// which it may as well have been earlier.
    private mutating func fallBehind() -> Latch<[[String]]> {
        self.link.begin(self.now, self.logger)
        self.manager.fill()
        self.link.patience = .zero
        let requested = UpgradeEvent(phase: .requested, generation: 1, peer: 71, elapsed: .zero, error: nil)
        self.link.note(requested, isAlone: false, self.now, self.logger)
        self.link.patience = patience
        let heard = Latch<[[String]]>()
        DispatchQueue(label: "manager").asyncAfter(deadline: .now() + .milliseconds(200)) { [manager] in
            var all: [[String]] = []
            while all.last != ["STATUS=the end"], readable(manager.number) {
                guard let arrival = manager.receive() else { continue }
                all.append(String(decoding: arrival.bytes, as: UTF8.self).split(separator: "\n").map(String.init))
            }
            heard.set(all)
        }
        return heard
    }

    @Test mutating func `a manager that was busy hears all the same who comes next`() async throws {
        let heard = self.fallBehind()
        let committed = UpgradeEvent(phase: .committed, generation: 1, peer: 71, elapsed: .zero, error: nil)
        self.link.note(committed, isAlone: false, self.now, self.logger)
        try self.manager.socket.send(["STATUS=the end"], within: patience)
        #expect(try await heard.value().contains { $0.starts(with: ["MAINPID=71", "READY=1"]) })
    }

    @Test mutating func `a manager that was busy is left everything all the same`() async throws {
        let heard = self.fallBehind()
        let carried = try ["a", "b"].map { name in
            CarriedDescriptor(
                InventoryEntry(name: name, kind: .listener, address: "tcp://127.0.0.1:0"),
                try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0)))
        }
        let old = StoreName(InventoryEntry(name: "old", kind: .listener, address: ""))
        self.link.store(carried, removing: [old], self.logger)
        try self.manager.socket.send(["STATUS=the end"], within: patience)
        let names = try await heard.value().filter { $0[0].hasPrefix("FDSTORE") }.compactMap(\.last)
        #expect(names == ["old", "a", "b"].map { "FDNAME=tableflip/1/0/\($0)" })
    }

    @Test mutating func `a reload's time is extended in time, however seldom the watchdog is told`() throws {
        var link = ServiceLink(
            self.manager.socket, hasPredecessor: false, Timings(.init()), watchdog: Watchdog(microseconds: "300000000"))
        link.begin(self.now, self.logger)
        let requested = UpgradeEvent(phase: .requested, generation: 1, peer: 71, elapsed: .zero, error: nil)
        link.note(requested, isAlone: false, self.now + .seconds(3), self.logger)
        #expect(link.nextPing == self.now + .seconds(13))
        _ = self.heard
        link.ping(self.now + .seconds(13), isWell: true, self.logger)
        #expect(self.heard == [["WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000"]])
        // What comes often does not put it off.
        let ready = UpgradeEvent(phase: .ready, generation: 1, peer: 71, elapsed: .zero, error: nil)
        link.note(ready, isAlone: false, self.now + .seconds(20), self.logger)
        #expect(link.nextPing == self.now + .seconds(23))
    }

    @Test mutating func `what a successor's predecessor may have said in vain is repeated a moment later`() throws {
        let silent = ServiceLink(self.manager.socket, hasPredecessor: true, Timings(.init()), watchdog: nil)
        var link = silent
        link.begin(self.now, self.logger)
        let owner = UpgradeEvent(phase: .owner, generation: 2, peer: 71, elapsed: .zero, error: nil)
        link.note(owner, isAlone: false, self.now, self.logger)
        #expect(self.heard == [] && link.nextPing == self.now + .milliseconds(500))
        link.ping(self.now + .milliseconds(500), isWell: true, self.logger)
        #expect(self.heard.map { $0[1] } == ["READY=1"] && link.nextPing == nil)
        // Its predecessor speaks sooner.
        link = silent
        link.note(owner, isAlone: false, self.now, self.logger)
        link.noteLastWord(self.logger)
        #expect(self.heard.map { $0[1] } == ["READY=1"])
        link.ping(self.now + .seconds(1), isWell: true, self.logger)
        #expect(self.heard == [])
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
