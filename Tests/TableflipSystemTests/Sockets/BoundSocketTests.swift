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

@Suite(.timeLimit(.minutes(5))) struct BoundSocketTests {
    private let directory: TemporaryDirectory

    init() throws { self.directory = try TemporaryDirectory() }

    // MARK: Internet

    @Test(arguments: ["127.0.0.1", "::1"])
    func `a listener accepts on the port that the kernel picked`(_ host: String) throws {
        let listener = try BoundSocket.bind(.tcp(host: host, port: 0))
        let port = try #require(BoundSocket.port(of: listener.borrowed))
        #expect(port > 0)
        try expectAccepts(listener.borrowed, host: host, port: port)
    }

    @Test func `an empty host is every address of both families`() throws {
        let listener = try BoundSocket.bind(.tcp(host: "", port: 0))
        let port = try #require(BoundSocket.port(of: listener.borrowed))
        try expectAccepts(listener.borrowed, host: "127.0.0.1", port: port)
        try expectAccepts(listener.borrowed, host: "::1", port: port)
    }

    @Test func `an IPv6 address takes no IPv4`() throws {
        // The same port of the other family is free, unless somebody has just taken it: not twenty times in a row.
        let isFree = try (0..<20).contains { _ in
            let six = try BoundSocket.bind(.tcp(host: "::", port: 0))
            let port = try #require(BoundSocket.port(of: six.borrowed))
            guard let four = try? BoundSocket.bind(.tcp(host: "0.0.0.0", port: port)) else { return false }
            return BoundSocket.port(of: four.borrowed) == port
        }
        #expect(isFree)
    }

    @Test func `a host may be a name`() throws {
        let listener = try BoundSocket.bind(.tcp(host: "localhost", port: 0))
        #expect(BoundSocket.port(of: listener.borrowed) != nil)
    }

    @Test func `one that has a peer of its own is of no group`() throws {
        let alone = try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0))
        #expect(!BoundSocket.isOfGroup(alone.borrowed))
        let member = try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0), .init(reusesPort: true))
        #expect(BoundSocket.isOfGroup(member.borrowed))
        let port = try #require(BoundSocket.port(of: alone.borrowed))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        // SAFETY: every address begins as `sockaddr` does (socket(7)).
        let result = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(member.borrowed, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        #expect(result == 0 && !BoundSocket.isOfGroup(member.borrowed))
    }

    #if os(Linux)
    @Test func `one that is bound to an interface is of no group`() throws {
        let member = try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0), .init(reusesPort: true))
        let name = Array("lo".utf8)
        #expect(setsockopt(member.borrowed, SOL_SOCKET, SO_BINDTODEVICE, name, socklen_t(name.count)) == 0)
        #expect(!BoundSocket.isOfGroup(member.borrowed))
    }
    #endif

    @Test func `a path is the same place by way of a link`() throws {
        let socket = try BoundSocket.bind(.unix(path: self.directory("x.sock")))
        #expect(symlink(self.directory.path, self.directory("link")) == 0)
        for path in ["x.sock", "./x.sock", "link/x.sock"] {
            #expect(BoundSocket.isBound(socket.borrowed, to: .unix(path: path), from: self.directory.path))
        }
        #expect(!BoundSocket.isBound(socket.borrowed, to: .unix(path: "y.sock"), from: self.directory.path))
        #expect(unlink(self.directory("link")) == 0)
    }

    @Test(arguments: ["127.0.0.1", "::1"])
    func `a datagram socket receives on the port that the kernel picked`(_ host: String) throws {
        let socket = try BoundSocket.bind(.udp(host: host, port: 0))
        let port = try #require(BoundSocket.port(of: socket.borrowed))
        let client = try Client(host: host, port: port, type: Platform.datagram)
        #expect(send(client.socket.borrowed, "hello", 5, 0) == 5)
        #expect(readable(socket.borrowed))
        #expect(everything(in: socket.borrowed) == Array("hello".utf8))
    }

    @Test(arguments: [
        SocketAddress.tcp(host: "127.0.0.1", port: 0), .tcp(host: "", port: 0), .udp(host: "::1", port: 0),
        .unix(path: ""),
    ])
    func `a socket is close-on-exec and does not block`(_ address: SocketAddress) throws {
        let address = address == .unix(path: "") ? .unix(path: self.directory("x.sock")) : address
        let socket = try BoundSocket.bind(address)
        #expect(isCloseOnExec(socket.borrowed))
        #expect(isNonBlocking(socket.borrowed))
    }

    @Test(arguments: [
        SocketAddress.tcp(host: "127.0.0.1", port: 0), .tcp(host: "::1", port: 0), .udp(host: "127.0.0.1", port: 0),
    ])
    func `a port that is taken is told as such`(_ address: SocketAddress) throws {
        let first = try BoundSocket.bind(address)
        let port = try #require(BoundSocket.port(of: first.borrowed))
        let again = address.withPort(port)
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(again) }
        #expect(error.code == .addressInUse)
        #expect(error.message.contains(again.description))
        #expect(error.message.contains("Address already in use"))
        #expect(!error.cure.isEmpty)
    }

    @Test func `a port can be bound again while old connections are still remembered`() throws {
        // Another program may be quicker to take the port: not each time.
        let attempts = try (0..<10).map { _ in try self.bindsAgain() }
        #expect(attempts.contains(true))
    }

    private func bindsAgain() throws -> Bool {
        let listener = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        let port = try #require(BoundSocket.port(of: listener.borrowed))
        do {
            let client = try Client(host: "127.0.0.1", port: port, type: Platform.stream)
            #expect(readable(listener.borrowed))
            let connection = OwnedDescriptor(
                takingOwnershipOf: try check("accept") { accept(listener.borrowed, nil, nil) }
            )
            // Whoever closes first gets TIME_WAIT, on the port of the listener.
            connection.close()
            #expect(readable(client.socket.borrowed))
        }
        listener.close()
        return (try? BoundSocket.bind(.tcp(host: "127.0.0.1", port: port)).close()) != nil
    }

    @Test func `an address of another machine is told as such`() throws {
        // Reserved for documentation (RFC 5737), so nobody's.
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.tcp(host: "192.0.2.1", port: 0))
        }
        #expect(error.code == .listenFailed)
        #expect(error.message.contains("tcp://192.0.2.1:0 is not an address of this machine"))
        #expect(error.serving == .nobody)
    }

    @Test func `a host that cannot be looked up is told as such`() throws {
        // Longer than any name can be, so nobody is asked.
        let host = String(repeating: "x", count: 300)
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.tcp(host: host, port: 80)) }
        #expect(error.code == .invalidAddress)
        #expect(error.message.contains("cannot be looked up"))
        #expect(error.message.contains(host))
        #expect(!error.cure.isEmpty)
    }

    @Test func `a queue that somebody has shortened can be made long again`() throws {
        let listener = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0))
        try check("listen") { listen(listener.borrowed, 1) }
        #expect(BoundSocket.restoreBacklog(of: listener.borrowed) == nil)
        let port = try #require(BoundSocket.port(of: listener.borrowed))
        // More than a queue of one holds (Linux lets one more in than it is told to).
        let clients = try (0..<8).map { _ in try Client(host: "127.0.0.1", port: port, type: Platform.stream) }
        for client in clients { #expect(client.isConnected) }
    }

    @Test func `only what can listen has a queue`() throws {
        let socket = try BoundSocket.bind(.udp(host: "127.0.0.1", port: 0))
        #expect(BoundSocket.restoreBacklog(of: socket.borrowed) == SystemCallError("listen", EOPNOTSUPP))
    }

    @Test func `no descriptor is left by a socket that cannot be bound`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            let path = directory("x.sock")
            let live = try BoundSocket.bind(.unix(path: path))
            let census = Census()
            let long = String(repeating: "x", count: 300)
            for address in [
                SocketAddress.tcp(host: "192.0.2.1", port: 0), .udp(host: "192.0.2.1", port: 0), .unix(path: path),
                .unix(path: "/no/such/directory/x"), .unix(path: "/" + long), .tcp(host: long, port: 0),
            ] {
                #expect(throws: UpgradeError.self) { _ = try BoundSocket.bind(address) }
            }
            #expect(census.isClean)
            _ = consume live
        }
    }

    // MARK: Unix

    @Test func `a Unix listener accepts`() throws {
        let path = self.directory("x.sock")
        let listener = try BoundSocket.bind(.unix(path: path))
        #expect(BoundSocket.port(of: listener.borrowed) == nil)
        let client = try Client(unix: path)
        #expect(client.isConnected)
        #expect(readable(listener.borrowed))
    }

    @Test func `a relative path counts from the directory that is given`() throws {
        let listener = try BoundSocket.bind(.unix(path: "x.sock"), from: self.directory.path)
        #expect(try Client(unix: self.directory("x.sock")).isConnected)
        _ = consume listener
    }

    @Test func `a file that a crash has left is replaced`() throws {
        let path = self.directory("x.sock")
        try BoundSocket.bind(.unix(path: path)).close()
        #expect(UnixPath(path) != nil)
        #expect(eventually { (try? Client(unix: path).isConnected) == false })

        let listener = try self.bindOnceFree(.unix(path: path))
        #expect(try Client(unix: path).isConnected)
        _ = consume listener
    }

    @Test func `a path that somebody listens on is left alone`() throws {
        let path = self.directory("x.sock")
        let first = try BoundSocket.bind(.unix(path: path))
        let file = try #require(UnixPath(path))
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        #expect(error.code == .addressInUse)
        #expect(error.message.contains(path))
        #expect(UnixPath(path) == file)
        #expect(try Client(unix: path).isConnected)
        _ = consume first
    }

    @Test func `who is behind a path does not hear that it was asked for`() throws {
        let path = self.directory("x.sock")
        let first = try BoundSocket.bind(.unix(path: path))
        #expect(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        #expect(tf_accept(first.borrowed) < 0 && errno == EAGAIN)
    }

    @Test(arguments: [SocketAddress.UnixKind.stream, .datagram])
    func `a path whose owner does not listen yet is left alone`(_ kind: SocketAddress.UnixKind) throws {
        let path = self.directory("x.sock")
        let first = OwnedDescriptor(
            takingOwnershipOf: try check("socket") { tf_socket(AF_UNIX, Platform.type(kind), 0) })
        let address = try #require(UnixAddress(path))
        try address.bind(first.borrowed)
        let file = try #require(UnixPath(path))
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        #expect(error.code == .addressInUse && UnixPath(path) == file)
    }

    @Test func `a path with a full queue behind it is left alone`() throws {
        let path = self.directory("x.sock")
        let first = try BoundSocket.bind(.unix(path: path))
        try check("listen") { listen(first.borrowed, 0) }
        var clients: [Client] = []
        while clients.count < 100 {
            let client = try Client(unix: path)
            clients.append(client)
            if !client.isConnected { break }
        }
        #expect(clients.last?.isConnected == false)
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        #expect(error.code == .addressInUse)
        #expect(UnixPath(path) != nil)
    }

    @Test func `a file that is no socket is left alone`() throws {
        let path = try self.directory.write("precious", to: "data")
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        #expect(error.code == .addressInUse)
        #expect(error.cure.contains("is no socket"))
        #expect(text(of: path) == "precious")
    }

    @Test(arguments: ["nowhere", "stale", "live"])
    func `a symbolic link is left alone, wherever it leads`(_ target: String) throws {
        let path = self.directory("link")
        let other = self.directory(target)
        try check("symlink") { symlink(other, path) }
        var listener: OwnedDescriptor?
        if target != "nowhere" { listener = try BoundSocket.bind(.unix(path: other)) }
        if target == "stale" { listener = nil }
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        #expect(error.code == .addressInUse)
        #expect(error.cure.contains("is a symbolic link"))
        #expect(FileAccess.isSymbolicLink(path))
        _ = consume listener
    }

    @Test(arguments: [0, 1, 107, 108, 109, 300])
    func `a path is as long as the system has room for, and never cut`(_ size: Int) throws {
        var path = self.directory.path + "/" + String(repeating: "x", count: 300)
        path = String(path.prefix(size))
        if size == 1 { path = "/" }
        if (self.directory.path.utf8.count + 2...Platform.unixPathLimit).contains(size) {
            let listener = try BoundSocket.bind(.unix(path: path))
            #expect(UnixPath(path) != nil)
            _ = consume listener
            return
        }
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(.unix(path: path)) }
        if size == 0 {
            #expect(error.code == .invalidAddress)
        } else if size == 1 {
            #expect(error.code == .addressInUse || error.code == .listenFailed)
        } else {
            #expect(error.code == .invalidAddress)
            #expect(error.message.contains("a path of \(size) bytes"))
            #expect(error.message.contains("\(Platform.unixPathLimit)"))
            #expect(self.directory.names.isEmpty)
        }
    }

    @Test func `a path with a zero in it is refused`() throws {
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.unix(path: self.directory("a\0b")))
        }
        #expect(error.code == .invalidAddress)
        #expect(self.directory.names.isEmpty)
    }

    @Test func `a directory that is not there is told as such`() throws {
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.unix(path: self.directory("no/x.sock")))
        }
        #expect(error.code == .listenFailed)
        #expect(error.message.contains("No such file or directory"))
        #expect(error.cure == "Create its directory first.")
    }

    // MARK: Kinds and options

    @Test func `tcp4 and tcp6 keep to their family`() throws {
        // The port that the kernel picks for one family may be another program's in the other: then the next one.
        for attempt in 1...20 {
            let six = try BoundSocket.bind(.tcp(host: "", port: 0, family: .v6))
            let port = try #require(BoundSocket.port(of: six.borrowed))
            do {
                let four = try BoundSocket.bind(.tcp(host: "", port: port, family: .v4))
                try expectAccepts(four.borrowed, host: "127.0.0.1", port: port)
                try expectAccepts(six.borrowed, host: "::1", port: port)
                break
            } catch let error as UpgradeError where error.code == .addressInUse && attempt < 20 {}
        }
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.tcp(host: "::1", port: 0, family: .v4))
        }
        #expect(error.code == .invalidAddress)
    }

    @Test func `an empty host takes IPv6 only when told to`() throws {
        let six = try BoundSocket.bind(.tcp(host: "", port: 0), .init(isIPv6Only: true))
        let port = try #require(BoundSocket.port(of: six.borrowed))
        // Not by connecting: at this port of IPv4 there may be another program.
        var isOnlySix: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        #expect(getsockopt(six.borrowed, CInt(IPPROTO_IPV6), IPV6_V6ONLY, &isOnlySix, &size) == 0 && isOnlySix == 1)
        try expectAccepts(six.borrowed, host: "::1", port: port)
    }

    @Test func `the sockets of a group share a port, and others do not get it`() throws {
        let group = ListenOptions(reusesPort: true)
        let first = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: 0), group)
        let port = try #require(BoundSocket.port(of: first.borrowed))
        let second = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: port), group)
        #expect(BoundSocket.port(of: second.borrowed) == port)
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.tcp(host: "127.0.0.1", port: port))
        }
        #expect(error.code == .addressInUse)
    }

    @Test(arguments: [0o600, 0o660, 0o777, 0o222] as [UInt16])
    func `a Unix socket's file has exactly the mode that is asked for`(_ mode: UInt16) throws {
        let path = self.directory("mode.sock")
        _ = try BoundSocket.bind(.unix(path: path), .init(unixMode: mode, unixOwner: .init(user: getuid())))
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(UInt16(status.st_mode) & 0o777 == mode)
        #expect(status.st_uid == getuid())
    }

    @Test func `a Unix socket's file that is as it should be is not touched, and any other is changed`() throws {
        let path = self.directory("touched.sock")
        _ = try BoundSocket.bind(.unix(path: path), .init(unixMode: 0o600))
        var (before, after) = (stat(), stat())
        #expect(lstat(path, &before) == 0)
        let same = ListenOptions(unixMode: 0o600, unixOwner: .init(user: getuid(), group: before.st_gid))
        let file = try #require(UnixPath(path))
        #expect(BoundSocket.adjust(path: file, to: same) == [])
        #expect(lstat(path, &after) == 0)
        #if canImport(Darwin)
        let (first, last) = (before.st_ctimespec, after.st_ctimespec)
        #else
        let (first, last) = (before.st_ctim, after.st_ctim)
        #endif
        #expect(first.tv_sec == last.tv_sec && first.tv_nsec == last.tv_nsec)
        #expect(BoundSocket.adjust(path: file, to: .init(unixMode: 0o640)) == [])
        #expect(lstat(path, &after) == 0 && after.st_mode & 0o777 == 0o640)
        unlink(path)
        #expect(BoundSocket.adjust(path: file, to: same) == ["\(path): lstat: No such file or directory"])
    }

    @Test func `nobody else's file gets the mode or the owner of a Unix socket`() throws {
        let path = self.directory("taken.sock")
        let kept = try BoundSocket.bind(.unix(path: path), .init(unixMode: 0o600))
        let file = try #require(UnixPath(path))
        let other = try self.directory.write("", to: "other", mode: 0o600)
        let wanted = ListenOptions(unixMode: 0o666, unixOwner: .init(user: 65534))
        var status = stat()
        // A link; then another socket.
        unlink(path)
        #expect(symlink(other, path) == 0)
        #expect(BoundSocket.adjust(path: file, to: wanted) == ["\(path) is another file by now"])
        // Also where it is put there in the moment between.
        #expect(throws: SystemCallError.self) { try BoundSocket.setMode(of: file, to: 0o666) }
        #expect(stat(other, &status) == 0 && status.st_mode & 0o777 == 0o600)
        unlink(path)
        _ = try BoundSocket.bind(.unix(path: path), .init(unixMode: 0o600))
        #expect(BoundSocket.adjust(path: file, to: wanted) == ["\(path) is another file by now"])
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        _ = consume kept
    }

    @Test func `a Unix socket's file that may not be given away is told as such`() async {
        await #expect(processExitsWith: .success) {
            let directory = try TemporaryDirectory()
            chmod(directory.path, 0o777)
            if getuid() == 0 { try #require(setuid(65534) == 0) }
            let path = directory("owner.sock")
            let error = try #require(throws: UpgradeError.self) {
                _ = try BoundSocket.bind(.unix(path: path), .init(unixOwner: .init(user: 0)))
            }
            #expect(error.message.contains("may not be given to its owner"), "\(error)")
            #expect(error.cure.contains("unixOwner"))
            #expect(UnixPath(path) == nil)
        }
    }

    @Test(.enabled(if: getuid() == 0, "only root may give files away"))
    func `a Unix socket's file can be given away`() throws {
        let path = self.directory("owner.sock")
        _ = try BoundSocket.bind(.unix(path: path), .init(unixOwner: .init(user: 65534, group: 65533)))
        var status = stat()
        #expect(lstat(path, &status) == 0)
        #expect(status.st_uid == 65534 && status.st_gid == 65533)
    }

    @Test func `the caller's own options are set before the socket is bound, and may refuse it`() throws {
        let listener = try BoundSocket.bind(
            .tcp(host: "127.0.0.1", port: 0),
            .init(configure: { number throws(UpgradeError) in
                var size: CInt = 300_000
                _ = setsockopt(number, SOL_SOCKET, SO_RCVBUF, &size, 4)
                if BoundSocket.port(of: number) ?? 0 != 0 { throw UpgradeError(.system, "it is bound already") }
            })
        )
        var size: CInt = 0
        var length = socklen_t(4)
        #expect(getsockopt(listener.borrowed, SOL_SOCKET, SO_RCVBUF, &size, &length) == 0)
        #expect(size >= 300_000)

        let path = self.directory("refused.sock")
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(
                .unix(path: path),
                .init(configure: { _ throws(UpgradeError) in throw UpgradeError(.invalidConfiguration, "not today") })
            )
        }
        #expect(error.message == "not today")
        #expect(UnixPath(path) == nil)
    }

    @Test(
        arguments: [
            (.tcp(host: "127.0.0.1", port: 0), .init(backlog: 0), "backlog of 0"),
            (.tcp(host: "127.0.0.1", port: 0), .init(unixMode: 0o600), "no file"),
            (.abstract(name: "x"), .init(unixOwner: .init(user: 0)), "no file"),
            (.unix(path: "/x"), .init(unixMode: 0o1777), "0o1777"),
            (.unix(path: "/x"), .init(reusesPort: true), "no port"),
            (.vsock(port: 1), .init(reusesPort: true), "no port"),
        ] as [(SocketAddress, ListenOptions, String)]
    )
    func `options that cannot work are told as such`(
        _ address: SocketAddress, _ options: ListenOptions, _ words: String
    ) throws {
        let error = try #require(throws: UpgradeError.self) { _ = try BoundSocket.bind(address, options) }
        #expect(error.code == .invalidConfiguration)
        #expect(error.message.contains(words))
        #expect(!error.cure.isEmpty)
    }

    @Test func `Unix datagrams arrive`() throws {
        let path = self.directory("gram.sock")
        let socket = try BoundSocket.bind(.unix(path: path, kind: .datagram))
        #expect(try DescriptorFacts(of: socket.borrowed).fits(.datagram))
        // The path of a datagram socket that is in use is nobody's to take; one that a crash left is.
        let error = try #require(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.unix(path: path, kind: .datagram))
        }
        #expect(error.code == .addressInUse)
        socket.close()
        let next = try self.bindOnceFree(.unix(path: path, kind: .datagram))
        #expect(try DescriptorFacts(of: next.borrowed).fits(.datagram))
    }

    #if os(Linux)
    @Test func `a queue is as long as it is asked to be`() throws {
        let path = self.directory("x.sock")
        let listener = try BoundSocket.bind(.unix(path: path), .init(backlog: 1))
        // Linux queues one more than the number.
        let clients = try (0..<3).map { _ in try Client(unix: path) }
        #expect(clients.map(\.isConnected) == [true, true, false])
        _ = consume listener
    }

    @Test(arguments: SocketAddress.UnixKind.allCases)
    func `an abstract name needs no file and is free when its socket is closed`(_ kind: SocketAddress.UnixKind) throws {
        let address = SocketAddress.abstract(name: "tableflip test \(getpid()) \(kind)", kind: kind)
        let first = try BoundSocket.bind(address)
        #expect(try DescriptorFacts(of: first.borrowed).fits(address.descriptorKind))
        #expect(throws: UpgradeError.self) { _ = try BoundSocket.bind(address) }
        first.close()
        _ = try self.bindOnceFree(address)
        #expect(throws: UpgradeError.self) {
            _ = try BoundSocket.bind(.abstract(name: String(repeating: "x", count: 108)))
        }
        #expect(throws: UpgradeError.self) { _ = try BoundSocket.bind(.abstract(name: "a\0b")) }
    }

    @Test func `a seqpacket listener is a listener`() throws {
        let path = self.directory("packet.sock")
        let listener = try BoundSocket.bind(.unix(path: path, kind: .seqpacket))
        #expect(try DescriptorFacts(of: listener.borrowed).fits(.listener))
    }

    @Test func `a listener for virtual machines is bound, or the system has none and says so`() throws {
        do {
            let listener = try BoundSocket.bind(.vsock(port: UInt32.max - 1 - UInt32(getpid() % 1000)))
            #expect(try DescriptorFacts(of: listener.borrowed).fits(.listener))
        } catch let error as UpgradeError {
            #expect(error.code == .listenFailed)
            #expect(error.message.contains("does not have"), "\(error)")
        }
    }
    #endif

    // MARK: -

    /// A program that another test is just starting may hold for a moment what was closed here.
    private func bindOnceFree(_ address: SocketAddress) throws -> OwnedDescriptor {
        let end = ContinuousClock.now + patience
        while true {
            do throws(UpgradeError) {
                return try BoundSocket.bind(address)
            } catch {
                guard error.code == .addressInUse, ContinuousClock.now < end else { throw error }
                sched_yield()
            }
        }
    }

    private func expectAccepts(
        _ listener: CInt, host: String, port: UInt16, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let client = try Client(host: host, port: port, type: Platform.stream)
        #expect(client.isConnected, sourceLocation: sourceLocation)
        #expect(readable(listener), sourceLocation: sourceLocation)
        let connection = OwnedDescriptor(takingOwnershipOf: try check("accept") { accept(listener, nil, nil) })
        #expect(connection.borrowed >= 0, sourceLocation: sourceLocation)
    }
}

extension SocketAddress {
    fileprivate func withPort(_ port: UInt16) -> SocketAddress {
        switch self.kind {
        case .tcp(let host, _, let family): .tcp(host: host, port: port, family: family)
        case .udp(let host, _, let family): .udp(host: host, port: port, family: family)
        case .unix, .abstract, .vsock: self
        }
    }
}

/// A socket that connects, by the shortest way there is.
private final class Client {
    let socket: OwnedDescriptor
    let isConnected: Bool

    init(host: String, port: UInt16, type: CInt) throws {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = type
        var list: UnsafeMutablePointer<addrinfo>?
        try #require(getaddrinfo(host, String(port), &hints, &list) == 0)
        defer { freeaddrinfo(list) }
        let info = try #require(list)
        let number = try check("socket") { Self.open(info.pointee.ai_family, type) }
        self.socket = OwnedDescriptor(takingOwnershipOf: number)
        self.isConnected = connect(number, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0
    }

    /// Does not wait where the queue is full.
    init(unix path: String) throws {
        let number = try check("socket") { Self.open(AF_UNIX, Platform.stream) }
        self.socket = OwnedDescriptor(takingOwnershipOf: number)
        _ = fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK)
        var address = sockaddr_un()
        Platform.fill(&address)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        // SAFETY: sockaddr_un starts as every sockaddr does; the size says where it ends.
        self.isConnected = withUnsafePointer(to: address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
            }
        }
    }

    private static func open(_ family: CInt, _ type: CInt) -> CInt {
        #if canImport(Glibc)
        Glibc.socket(family, type | CInt(SOCK_CLOEXEC.rawValue), 0)
        #elseif canImport(Musl)
        Musl.socket(family, type | SOCK_CLOEXEC, 0)
        #else
        Darwin.socket(family, type, 0)
        #endif
    }
}
