// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Logging
import TableflipCore
import TableflipSystem
import TableflipTesting
import Testing

@testable import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite(.timeLimit(.minutes(3))) struct UpgraderTests {
    // MARK: Sockets

    @Test func `two sockets of one name are refused`() async throws {
        try await Stage.first(.current) { stage in
            let address = SocketAddress.tcp(host: "127.0.0.1", port: 0)
            let first = try stage.upgrader.listen(on: address)
            let error = try #require(throws: UpgradeError.self) { _ = try stage.upgrader.listen(on: address) }
            #expect(error.code == .duplicateName)
            #expect(error.message.contains(first.name))
            // The same address under another name is another socket.
            let second = try stage.upgrader.listen(on: address, name: "second")
            #expect(second.port != first.port)
            #expect(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: .udp(host: "::1", port: 0), name: "second")
            }
            #expect(throws: UpgradeError.self) {
                _ = try stage.upgrader.carry(.file, name: "second") { () throws(UpgradeError) in
                    throw UpgradeError(.system, "")
                }
            }
        }
    }

    @Test func `a socket after ready is refused`() async throws {
        try await Stage.serving(.current) { stage in
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0))
            }
            #expect(error.code == .wrongMoment)
            #expect(!error.cure.isEmpty)
        }
    }

    @Test(arguments: [0, 256, 1000])
    func `a name of no length or too great a one is refused`(_ length: Int) async throws {
        try await Stage.first(.current) { stage in
            let name = String(repeating: "x", count: length)
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: name)
            }
            #expect(error.code == .invalidAddress)
            #expect(error.message.contains("has \(length)"))
        }
    }

    @Test func `an address that is too long for a name wants one of its own`() async throws {
        try await Stage.first(.current) { stage in
            // A path cannot be that long, but a host's name can be written so.
            let host = String(repeating: "x", count: 300)
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: .tcp(host: host, port: 0))
            }
            #expect(error.code == .invalidAddress)
            #expect(error.cure.contains("listen(on:name:)"))
        }
    }

    @Test func `an address that does not fit on the wire is refused when it is asked for`() async throws {
        try await Stage.first(.current) { stage in
            let host = String(repeating: "x", count: WireLimit.address)
            #expect(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: .tcp(host: host, port: 0), name: "long")
            }
        }
    }

    @Test func `what a call fails at says who serves all the same`() async throws {
        func failure(_ call: () throws(UpgradeError) -> Void) -> UpgradeError.Serving? {
            do throws(UpgradeError) {
                try call()
                return nil
            } catch {
                return error.serving
            }
        }
        func failures(_ upgrader: Upgrader, _ listener: Listener) -> Set<UpgradeError.Serving?> {
            [
                failure { () throws(UpgradeError) in _ = try upgrader.listen(on: .unix(path: "/nowhere/socket")) },
                failure { () throws(UpgradeError) in _ = try upgrader.inherited(.file, name: "") },
                failure { () throws(UpgradeError) in try upgrader.leaveState([], name: "", version: 1) },
                failure { () throws(UpgradeError) in _ = try listener.duplicate(as: .datagram) },
            ]
        }
        let address = SocketAddress.tcp(host: "127.0.0.1", port: 0)
        try await Stage.first(.current) { stage in
            let listener = try stage.upgrader.listen(on: address)
            #expect(failures(stage.upgrader, listener) == [.nobody])
            #expect(try await stage.requestUpgrade().failure.serving == .nobody)
            try await stage.requestReady().value
            #expect(failures(stage.upgrader, listener) == [.predecessor])
        }
        let predecessor = try FakePredecessor(.current)
        try await Stage.successor(.current, of: predecessor) { stage in
            let listener = try stage.upgrader.listen(on: address)
            #expect(failures(stage.upgrader, listener) == [.predecessor])
            try await predecessor.die()
            try await eventually("the end of the predecessor") { failures(stage.upgrader, listener) == [.nobody] }
        }
    }

    @Test func `an error that quotes another one says once what kind it is and who serves`() async throws {
        let predecessor = try FakePredecessor(.current)
        try await Stage.successor(.current, of: predecessor) { stage in
            let error = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: .unix(path: "/nowhere/socket"))
            }
            await stage.upgrader.giveUp(because: error)
            guard case .abort(let abort) = try await predecessor.peer.nextMessage().message else {
                throw TimedOut(what: "an abort")
            }
            #expect(abort.message == "the application cannot serve: \(error.message)")
            #expect(abort.cure == "Create its directory first.")
        }
    }

    @Test func `a socket that cannot be bound leaves its name free`() async throws {
        try await Stage.first(.current) { stage in
            // Somebody else may get the port, or a program that another test is just starting hold it for a moment: not
            // twenty in a row.
            let isFree = try (0..<20).contains { _ in
                let taken = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
                let port = try #require(BoundSocket.port(of: taken.withBorrowed { $0 }))
                let address = SocketAddress.tcp(host: "127.0.0.1", port: port)
                let error = try #require(throws: UpgradeError.self) { _ = try stage.upgrader.listen(on: address) }
                #expect(error.code == .addressInUse)
                taken.close()
                do throws(UpgradeError) {
                    return try stage.upgrader.listen(on: address).port == port
                } catch {
                    guard error.code == .addressInUse else { throw error }
                    return false
                }
            }
            #expect(isFree)
        }
    }

    @Test func `a socket of another kind under an inherited name is refused`() async throws {
        let predecessor = try FakePredecessor(.current)
        var inventory = Inventory.empty
        try inventory.addListener(.tcp(host: "127.0.0.1", port: 0), name: "web")
        let handedOver = inventory
        try await Stage.successor(.current, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            for (other, words) in [
                (.udp(host: "127.0.0.1", port: 0), "web is a listener in the predecessor and a datagram here"),
                (
                    .unix(path: "/run/x.sock"),
                    "web is a TCP socket in the predecessor and a Unix stream socket here"
                ), (.vsock(port: 1), "web is a TCP socket in the predecessor and a vsock socket here"),
            ] as [(SocketAddress, String)] {
                let error = try #require(throws: UpgradeError.self) {
                    _ = try stage.upgrader.listen(on: other, name: "web")
                }
                #expect(error.code == .duplicateName)
                #expect(error.message.contains(words), "\(error)")
            }
        }
    }

    @Test func `an inherited socket keeps its address, and the log warns of another one`() async throws {
        let predecessor = try FakePredecessor(.current)
        var inventory = Inventory.empty
        let web = try inventory.addListener(.tcp(host: "127.0.0.1", port: 0))
        let port = try #require(BoundSocket.port(of: web.number))
        let kept = SocketAddress.tcp(host: "127.0.0.1", port: port)
        let asked: [SocketAddress] = [
            kept, .tcp(host: "127.0.0.1", port: 0), .tcp(host: "127.0.0.1", port: port, family: .v4),
            .tcp(host: "127.0.0.2", port: port),
        ]
        inventory = .empty
        for (index, _) in asked.enumerated() { inventory.add("\(index)", .listener, kept.description, web) }
        // As one that a service manager has passed: nobody knows where that is.
        inventory.add("passed", .listener, "", web)
        let handedOver = inventory
        try await Stage.successor(.current, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            for (index, address) in asked.enumerated() {
                #expect(try stage.upgrader.listen(on: address, name: "\(index)").address == kept)
            }
            let passed = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 9), name: "passed")
            #expect(passed.address == .tcp(host: "127.0.0.1", port: 9))
            let warnings = stage.log.lines.filter { $0.hasPrefix("an inherited socket keeps its address") }
            #expect(warnings.count == 1)
            #expect(warnings.first?.hasSuffix(" address=\(kept) asked=\(asked[3]) socket=3") == true, "\(warnings)")
        }
    }

    /// Refused, it would serve nobody.
    @Test func `a group may change once the predecessor has died`() async throws {
        let predecessor = try FakePredecessor(.current)
        let group = ListenOptions(reusesPort: true)
        let one = Held(try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0), group))
        let address = SocketAddress.tcp(host: "127.0.0.1", port: try #require(BoundSocket.port(of: one.number)))
        var inventory = Inventory.empty
        inventory.add("one", .listener, address.description, one)
        inventory.add("two", .listener, address.description, Held(try BoundSocket.bind(address, group)))
        let handedOver = inventory
        try await Stage.successor(.current, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            try await predecessor.die()
            try await stage.fence()
            #expect(try stage.upgrader.listen(on: address, name: "one", options: group).isInherited)
            #expect(try !stage.upgrader.listen(on: address, name: "three", options: group).isInherited)
            try await stage.upgrader.ready()
        }
    }

    #if os(Linux)
    private func backlog(of socket: Held) throws -> UInt32 {
        // Of a listener `tcpi_sacked` is the length of its queue (tcp_get_info, net/ipv4/tcp.c).
        var info = [UInt32](repeating: 0, count: 8)
        var size = socklen_t(32)
        try #require(getsockopt(socket.number, CInt(IPPROTO_TCP), 11 /* TCP_INFO */, &info, &size) == 0)
        return info[7]
    }

    @Test func `a queue that was short is as long as can be when nothing else is asked for any more`() async throws {
        let predecessor = try FakePredecessor(.current)
        let address = SocketAddress.tcp(host: "127.0.0.1", port: 0)
        let longest = try self.backlog(of: Held(try BoundSocket.bind(address)))
        let held = Held(try BoundSocket.bind(address, .init(backlog: 7)))
        #expect(try self.backlog(of: held) == 7 && longest > 7)
        var inventory = Inventory.empty
        inventory.add(address.description, .listener, address.description, held)
        let handedOver = inventory
        try await Stage.successor(.current, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            #expect(try stage.upgrader.listen(on: address).isInherited)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            #expect(try self.backlog(of: held) == 7)
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            _ = try await stage.events.first(.owner)
            #expect(try self.backlog(of: held) == longest)
        }
    }

    /// NIO calls listen(2) when it adopts a socket, and the adapter puts that right: long before the upgrade has succeeded.
    @Test func `the queue of an inherited socket is changed only by the owner`() async throws {
        let predecessor = try FakePredecessor(.current)
        var inventory = Inventory.empty
        let held = try inventory.addListener(.tcp(host: "127.0.0.1", port: 0))
        let before = try self.backlog(of: held)
        let handedOver = inventory
        try await Stage.successor(.current, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            let listener = try stage.upgrader.listen(
                on: .tcp(host: "127.0.0.1", port: 0), options: ListenOptions(backlog: 7))
            try listener.restoreBacklog()
            #expect(try self.backlog(of: held) == before)
            let ready = stage.requestReady()
            _ = try await predecessor.hearReady()
            try await predecessor.peer.say(.go, .commit)
            try await ready.value
            _ = try await stage.events.first(.owner)
            #expect(try self.backlog(of: held) == 7)
            // Adopted as late as that, it keeps what was asked for.
            try listener.restoreBacklog()
            #expect(try self.backlog(of: held) == 7)
        }
    }
    #endif

    @Test(arguments: [true, false])
    func `an address that the predecessor has under another name is told as such`(_ isUnix: Bool) async throws {
        let directory = try TemporaryDirectory()
        let predecessor = try FakePredecessor(.current)
        var inventory = Inventory.empty
        let held = try inventory.addListener(
            isUnix ? .unix(path: directory("x.sock")) : .tcp(host: "127.0.0.1", port: 0), name: "web")
        let address: SocketAddress =
            isUnix
            ? .unix(path: directory("x.sock")) : .tcp(host: "127.0.0.1", port: BoundSocket.port(of: held.number) ?? 0)
        let handedOver = inventory
        try await Stage.successor(.current, of: predecessor, greeting: { try await $0.handOver(handedOver) }) { stage in
            let error = try #require(throws: UpgradeError.self) { _ = try stage.upgrader.listen(on: address) }
            #expect(error.code == .addressInUse && error.serving == .predecessor)
            #expect(error.message == "\(address) is what the predecessor has under the name web")
            #expect(error.cure == "Ask for it under that name, or keep the name.")
            #expect(try stage.upgrader.listen(on: address, name: "web").isInherited)
            // One more cannot be bound beside it.
            let another = try #require(throws: UpgradeError.self) {
                _ = try stage.upgrader.listen(on: address, name: "more", options: .init(reusesPort: !isUnix))
            }
            #expect(another.code == .addressInUse && another.serving == .predecessor)
            #expect(another.message == error.message)
            #expect(another.cure.hasPrefix("Give the new one another address."), "\(another.cure)")
        }
    }

    @Test func `a duplicate is the caller's own`() async throws {
        try await Stage.serving(.current) { _ in }
        try await Stage.first(.current) { stage in
            let listener = try stage.upgrader.listen(on: .tcp(host: "127.0.0.1", port: 0), name: "web")
            #expect(listener.name == "web")
            #expect(listener.address == .tcp(host: "127.0.0.1", port: 0))
            let duplicate = try listener.duplicate()
            #expect(duplicate.withBorrowed { fcntl($0, F_GETFD) } & FD_CLOEXEC != 0)
            #expect(duplicate.withBorrowed { fcntl($0, F_GETFL) } & O_NONBLOCK != 0)
            duplicate.close()
            #expect(listener.port != nil)
            try listener.restoreBacklog()
            try await stage.upgrader.ready()
            stage.upgrader.stop()
            _ = await stage.upgrader.exit
            let error = try #require(throws: UpgradeError.self) { _ = try listener.duplicate() }
            #expect(error.code == .wrongMoment && error.serving == .nobody)
            #expect(error.message.contains("web") && error.message.contains("has stopped"), "\(error)")
        }
    }

    /// What it finds by a relative path the next generation would look for elsewhere.
    @Test func `a directory for one upgrade wants absolute paths, as one for all does`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            chdir(directory.path)
            setenv("PWD", directory.path, 1)
            func refusal(of stub: StubUpgrader) async throws -> String {
                try await stub.upgrader.ready()
                let there = Upgrader.Successor(executable: "/bin/sh", directory: "/")
                let error = try #require(
                    await #expect(throws: UpgradeError.self) { try await stub.upgrader.upgrade(startingWith: there) })
                #expect(error.code == .invalidConfiguration && error.serving == .predecessor)
                return error.message
            }
            let file = try await refusal(of: StubUpgrader(configuration: .init(pidFile: "own.pid")))
            #expect(file.hasPrefix("pidFile is \"own.pid\""), "\(file)")
            let stub = try StubUpgrader()
            _ = try stub.upgrader.listen(on: .unix(path: "x.sock"), name: "web")
            let socket = try await refusal(of: stub)
            #expect(socket.contains("web is \"x.sock\""), "\(socket)")
            try await stub.upgrader.upgrade(startingWith: .init(executable: "/bin/sh", directory: directory.path))
        }
    }

    @Test func `a relative Unix path counts from where the process started`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            chdir(directory.path)
            setenv("PWD", directory.path, 1)
            let upgrader = try Upgrader(configuration: .init(signals: .none), logger: quiet)
            chdir("/")
            _ = try upgrader.listen(on: .unix(path: "x.sock"))
            #expect(directory.names == ["x.sock"], "\(directory.names)")
            try await upgrader.ready()
            upgrader.stop()
            _ = await upgrader.exit
            #expect(directory.names.isEmpty, "\(directory.names)")
        }
    }

    // MARK: The process: each has one of its own

    @Test func `there is one upgrader in a process`() async {
        await #expect(processExitsWith: .success) {
            _ = try Upgrader(configuration: .init(signals: .none), logger: quiet)
            let error = try #require(throws: UpgradeError.self) {
                _ = try Upgrader(configuration: .init(signals: .none), logger: quiet)
            }
            #expect(error.code == .alreadyCreated)
        }
    }

    @Test func `an upgrader that could not be made counts for nothing`() async {
        await #expect(processExitsWith: .success) {
            setenv(ProcessEnvironment.channelVariable, "3:nonsense", 1)
            let error = try #require(throws: UpgradeError.self) {
                _ = try Upgrader(configuration: .init(signals: .none), logger: quiet)
            }
            #expect(error.code == .staleEnvironment)
            #expect(error.message.contains("3:nonsense"))
            #expect(error.cure.contains("env -u TABLEFLIP_CHANNEL"))
            _ = try Upgrader(configuration: .init(signals: .none), logger: quiet)
        }
    }

    /// Else they would write to a descriptor that by then is somebody else's.
    @Test func `after a failure signals do what they did before`() async {
        await #expect(processExitsWith: .signal(SIGHUP)) {
            setenv(ProcessEnvironment.channelVariable, "3:nonsense", 1)
            #expect(throws: UpgradeError.self) { _ = try Upgrader(configuration: .init(), logger: quiet) }
            raise(SIGHUP)
        }
        await #expect(processExitsWith: .signal(SIGTERM)) {
            // The handshake fails, later than the environment does.
            let predecessor = try FakePredecessor(.current)
            let channel = predecessor.takeOtherEnd().release()
            let inode = try DescriptorFacts(of: channel).inode
            setenv(ProcessEnvironment.channelVariable, "\(channel):\(inode)", 1)
            try await predecessor.peer.close()
            #expect(throws: UpgradeError.self) { _ = try Upgrader(configuration: .init(), logger: quiet) }
            raise(SIGTERM)
        }
    }

    @Test func `a signal stops the service and the second one ends the process`() async {
        await #expect(processExitsWith: .exitCode(0)) {
            let upgrader = try Upgrader(configuration: .init(), logger: quiet)
            try await upgrader.ready()
            kill(getpid(), SIGTERM)
            #expect(await upgrader.exit == .stopped)
            let never = try Tracer()
            kill(getpid(), SIGINT)
            // It ends before this does.
            _ = try await never.isClosedEverywhere
            exit(99)
        }
    }

    @Test func `told to stop before it listens, a program goes on to its end and leaves nothing behind`() async {
        await #expect(processExitsWith: .success) {
            let path = "/tmp/tf-\(getpid()).sock"
            let upgrader = try Upgrader(configuration: .init(), logger: quiet)
            raise(SIGTERM)
            #expect(await upgrader.exit == .stopped)
            let listener = try upgrader.listen(on: .unix(path: path))
            _ = try listener.duplicate().borrowed
            try await upgrader.ready()
            #expect(await upgrader.exit == .stopped)
            #expect(access(path, F_OK) != 0)
            #expect(throws: UpgradeError.self) { _ = try listener.duplicate().borrowed }
            // Once, like everybody.
            await #expect(throws: UpgradeError.self) { try await upgrader.ready() }
        }
    }

    @Test func `a signal starts an upgrade, and its failure leaves the process as it was`() async {
        await #expect(processExitsWith: .success) {
            let upgrader = try Upgrader(
                configuration: .init(successor: .init(executable: "/no/such/program")), logger: quiet)
            let events = EventLog(upgrader.events)
            kill(getpid(), SIGHUP)
            #expect(try await events.first(.refused).error?.code == .notReady)
            try await upgrader.ready()
            kill(getpid(), SIGHUP)
            let failed = try await events.first(.failed)
            #expect(failed.error?.code == .executableMissing)
            #expect(failed.error?.message.contains("/no/such/program") == true)
        }
    }

    // MARK: Leaving

    @Test func `leaving is one stop, whatever else is said, and never means now`() async throws {
        try await Stage.serving(.current) { stage in
            stage.upgrader.leave()
            stage.upgrader.leave()
            let reason = try await stage.context.exit.value()
            #expect(reason == .stopped)
            // Heard after both.
            await #expect(throws: UpgradeError.self) { try await stage.upgrader.upgrade() }
            #expect(stage.exited.current == nil)
            stage.upgrader.stop()
            let status = try await stage.exited.value()
            #expect(status == 0)
        }
    }

    @Test func `who cannot come to serve says why`() async throws {
        try await Stage.first(.current) { stage in
            await stage.upgrader.giveUp(UpgradeError(.initialisationFailed, "no database"))
            guard case .failed(let failure) = try await stage.context.exit.value() else {
                Issue.record("it did not fail")
                return
            }
            #expect(failure.code == .initialisationFailed && failure.serving == .nobody)
            let late = try #require(await #expect(throws: UpgradeError.self) { try await stage.upgrader.ready() })
            #expect(late.code == .initialisationFailed)
        }
    }
}

private let quiet = Logger(label: "upgrader") { _ in SwiftLogNoOpLogHandler() }
