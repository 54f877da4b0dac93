// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
package import TableflipCore

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Making sockets that listen.
package enum BoundSocket {
    /// Binds and listens. The socket is close-on-exec and non-blocking. A relative path counts from `directory`.
    package static func bind(
        _ address: SocketAddress, _ options: ListenOptions = .init(), from directory: String = "."
    ) throws(UpgradeError) -> OwnedDescriptor {
        try options.validate(for: address)
        return switch address.kind {
        case .tcp(let host, let port, let family):
            try self.bindInternet(host, port, family, Platform.stream, address, options)
        case .udp(let host, let port, let family):
            try self.bindInternet(host, port, family, Platform.datagram, address, options)
        case .unix(let path, let kind): try self.bindPath(path, kind, from: directory, address, options)
        case .abstract(let name, let kind): try self.bindAbstract(name, kind, address, options)
        case .vsock(let contextID, let port): try self.bindVirtual(contextID, port, address, options)
        }
    }

    /// The port that a socket is bound to; nil for what has none.
    package static func port(of descriptor: CInt) -> UInt16? {
        guard case .internet(let bytes)? = self.name(of: descriptor) else { return nil }
        return UInt16(bytes[0]) << 8 | UInt16(bytes[1])
    }

    /// listen(2) on a socket that listens already changes only the length of its queue.
    package static func restoreBacklog(of descriptor: CInt, to backlog: Int32? = nil) -> SystemCallError? {
        listen(descriptor, backlog ?? Platform.longestBacklog) == 0 ? nil : SystemCallError("listen")
    }

    /// Brings the file of an inherited Unix socket to the mode and owner that it is asked for with now, if it is still the
    /// one that it was. A disk may hold it up.
    /// - Returns: in words, what could not be changed.
    package static func adjust(path file: UnixPath, to options: ListenOptions) -> [String] {
        let path = file.path
        var problems: [String] = []
        func attempt(_ what: String, _ body: () throws(SystemCallError) -> Void) {
            do throws(SystemCallError) { try body() } catch { problems.append("\(what): \(error)") }
        }
        var now = stat()
        guard lstat(path, &now) == 0 else { return ["\(path): \(SystemCallError("lstat"))"] }
        guard UnixPath(path) == file else { return ["\(path) is another file by now"] }
        // What is so already may be somebody else's to change.
        if let mode = options.unixMode, now.st_mode & 0o7777 != mode_t(mode) {
            attempt("mode") { () throws(SystemCallError) in try self.setMode(of: file, to: mode) }
        }
        if let owner = options.unixOwner {
            let (user, group) = (owner.user ?? now.st_uid, owner.group ?? now.st_gid)
            if user != now.st_uid || group != now.st_gid {
                attempt("owner") { () throws(SystemCallError) in
                    try check("chown") { lchown(path, owner.user ?? uid_t.max, owner.group ?? gid_t.max) }
                }
            }
        }
        return problems
    }

    /// chmod(2), of nothing that a symbolic link leads to: whoever may write to the directory can put one there.
    package static func setMode(of file: UnixPath, to mode: UInt16) throws(SystemCallError) {
        do throws(SystemCallError) {
            try check("chmod") { fchmodat(AT_FDCWD, file.path, mode_t(mode), AT_SYMLINK_NOFOLLOW) }
        } catch {
            // It is a link; or the kernel is older than 6.6 and there is no /proc; or a filter does not know fchmodat2(2).
            guard UnixPath(file.path) == file else { throw error }
            try check("chmod") { chmod(file.path, mode_t(mode)) }
        }
    }

    /// Brings an inherited socket to the options that it is asked for with now, as far as the kernel lets us; its file is
    /// another matter.
    /// - Returns: in words, what could not be changed.
    package static func adjust(_ descriptor: CInt, isListening: Bool, to options: ListenOptions) -> [String] {
        var problems: [String] = []
        if isListening, let error = self.restoreBacklog(of: descriptor, to: options.backlog) {
            problems.append("backlog: \(error)")
        }
        // These are fixed by bind(2).
        if let wanted = options.isIPv6Only, let now = self.flag(IPV6_V6ONLY, CInt(IPPROTO_IPV6), of: descriptor),
            now != wanted
        {
            problems.append("IPV6_V6ONLY is \(now ? 1 : 0) and cannot be changed")
        }
        if let now = self.reusesPort(descriptor), now != options.reusesPort {
            problems.append("SO_REUSEPORT is \(now ? 1 : 0) and cannot be changed")
        }
        return problems
    }

    /// Whether it shares what arrives with others that are bound to the same address. Who has a peer or an interface of its
    /// own does not.
    package static func isOfGroup(_ descriptor: CInt) -> Bool {
        guard self.reusesPort(descriptor) == true, !Platform.isBoundToInterface(descriptor) else { return false }
        return getpeername(descriptor, nil, nil) != 0 && errno == ENOTCONN
    }

    /// Whether others may be bound beside it; nil where that cannot be asked.
    package static func reusesPort(_ descriptor: CInt) -> Bool? {
        self.flag(SO_REUSEPORT, SOL_SOCKET, of: descriptor)
    }

    private static func flag(_ name: CInt, _ level: CInt, of descriptor: CInt) -> Bool? {
        var value: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        return getsockopt(descriptor, level, name, &value, &size) == 0 ? value != 0 : nil
    }

    /// What is the same for every kind of socket: made, configured, bound, and listening if it accepts.
    private static func make(
        _ domain: CInt, _ type: CInt, _ options: ListenOptions,
        bind: (CInt) throws(SystemCallError) -> Void
    ) throws(BindingError) -> OwnedDescriptor {
        let socket = try self.attempt { () throws(SystemCallError) in
            OwnedDescriptor(takingOwnershipOf: try check("socket") { tf_socket(domain, type, 0) })
        }
        let number = socket.borrowed
        if options.reusesPort {
            try self.attempt { () throws(SystemCallError) in try self.set(number, SOL_SOCKET, SO_REUSEPORT, 1) }
        }
        if let configure = options.configure {
            do throws(UpgradeError) { try configure(number) } catch { throw .refused(error) }
        }
        try self.attempt { () throws(SystemCallError) in
            try bind(number)
            if type != Platform.datagram {
                try check("listen") { listen(number, options.backlog ?? Platform.longestBacklog) }
            }
        }
        return socket
    }

    private enum BindingError: Error {
        case system(SystemCallError)
        /// The caller's own configuration said no.
        case refused(UpgradeError)

        var isLackOfIPv6: Bool {
            guard case .system(let error) = self else { return false }
            return error.number == EAFNOSUPPORT || error.number == EADDRNOTAVAIL
        }
    }

    private static func attempt<Result: ~Copyable>(
        _ body: () throws(SystemCallError) -> Result
    ) throws(BindingError) -> Result {
        do throws(SystemCallError) { return try body() } catch { throw .system(error) }
    }

    /// Puts words to a failure.
    private static func wording<Result: ~Copyable>(
        _ address: SocketAddress, _ body: () throws(BindingError) -> Result
    ) throws(UpgradeError) -> Result {
        do throws(BindingError) {
            return try body()
        } catch {
            switch error {
            case .system(let error): throw UpgradeError.listen(address, error)
            case .refused(let error): throw error
            }
        }
    }

    private static func set(
        _ socket: CInt, _ level: CInt, _ option: CInt, _ value: CInt
    ) throws(SystemCallError) {
        var value = value
        try check("setsockopt") { setsockopt(socket, level, option, &value, socklen_t(MemoryLayout<CInt>.size)) }
    }

    // MARK: Internet

    private static func bindInternet(
        _ host: String, _ port: UInt16, _ family: SocketAddress.Family, _ type: CInt, _ address: SocketAddress,
        _ options: ListenOptions
    ) throws(UpgradeError) -> OwnedDescriptor {
        var hints = addrinfo()
        hints.ai_family =
            switch family {
            case .any: AF_UNSPEC
            case .v4: AF_INET
            case .v6: AF_INET6
            }
        hints.ai_socktype = type
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
        guard result == 0, let first = list else {
            // SAFETY: gai_strerror returns a static string.
            throw UpgradeError(
                .invalidAddress, "\(address) cannot be looked up: \(String(cString: gai_strerror(result)))",
                cure: "Write the address as a number, such as 127.0.0.1 or ::1.", serving: .nobody
            )
        }
        defer { freeaddrinfo(list) }
        return try self.wording(address) { () throws(BindingError) in
            host.isEmpty && family == .any
                ? try self.bindEverything(first, type, options) : try self.bind(first.pointee, type, options)
        }
    }

    /// An IPv6 socket takes IPv4 as well (ipv6(7)); where there is no IPv6, every IPv4 address is everything.
    private static func bindEverything(
        _ first: UnsafeMutablePointer<addrinfo>, _ type: CInt, _ options: ListenOptions
    ) throws(BindingError) -> OwnedDescriptor {
        var next: UnsafeMutablePointer<addrinfo>? = first
        while let info = next {
            next = info.pointee.ai_next
            guard info.pointee.ai_family == AF_INET6 else { continue }
            do throws(BindingError) {
                return try self.bind(info.pointee, type, options, takesIPv4: true)
            } catch  where error.isLackOfIPv6 {
                break
            }
        }
        return try self.bind(first.pointee, type, options)
    }

    private static func bind(
        _ info: addrinfo, _ type: CInt, _ options: ListenOptions, takesIPv4: Bool = false
    ) throws(BindingError) -> OwnedDescriptor {
        try self.make(info.ai_family, type, options) { number throws(SystemCallError) in
            if type == Platform.stream {
                // A restart must not wait for connections in TIME_WAIT (socket(7)); every server sets it.
                try self.set(number, SOL_SOCKET, SO_REUSEADDR, 1)
            }
            if info.ai_family == AF_INET6 {
                try self.set(number, CInt(IPPROTO_IPV6), IPV6_V6ONLY, options.isIPv6Only ?? !takesIPv4 ? 1 : 0)
            }
            // SAFETY: getaddrinfo made address and length; they live until freeaddrinfo.
            try check("bind") { bindSocket(number, info.ai_addr, info.ai_addrlen) }
        }
    }

    // MARK: Unix

    private static func bindPath(
        _ words: String, _ kind: SocketAddress.UnixKind, from directory: String, _ address: SocketAddress,
        _ options: ListenOptions
    ) throws(UpgradeError) -> OwnedDescriptor {
        let path = words.isEmpty ? words : words.absolutePath(from: directory)
        guard let socketAddress = UnixAddress(path) else {
            throw UpgradeError(
                .invalidAddress,
                "\(address): a path of \(path.utf8.count) bytes; the system has room for 1 to \(Platform.unixPathLimit)",
                cure: "Use a shorter path, such as one below /run.", serving: .nobody
            )
        }
        let type = Platform.type(kind)
        return try self.wording(address) { () throws(BindingError) in
            try self.make(AF_UNIX, type, options) { number throws(SystemCallError) in
                // Linux gives the file the mode of the socket; elsewhere this fails, and nobody can connect to a stream
                // before listen(2).
                if let mode = options.unixMode { _ = fchmod(number, mode_t(mode)) }
                do throws(SystemCallError) {
                    try socketAddress.bind(number)
                } catch  where error.number == EADDRINUSE {
                    // A socket without a process behind it was left by a crash: it is in nobody's use. Any other file is
                    // somebody's, though connect(2) refuses it with the same error.
                    guard UnixPath(path) != nil, try socketAddress.isStale else { throw error }
                    unlink(path)
                    try socketAddress.bind(number)
                }
                do throws(SystemCallError) {
                    // The umask may have cut it.
                    if let mode = options.unixMode {
                        guard let file = UnixPath(path) else { throw SystemCallError("chmod", ENOENT) }
                        try self.setMode(of: file, to: mode)
                    }
                    if let owner = options.unixOwner {
                        try check("chown") { lchown(path, owner.user ?? uid_t.max, owner.group ?? gid_t.max) }
                    }
                } catch {
                    unlink(path)
                    throw error
                }
            }
        }
    }

    private static func bindAbstract(
        _ name: String, _ kind: SocketAddress.UnixKind, _ address: SocketAddress, _ options: ListenOptions
    ) throws(UpgradeError) -> OwnedDescriptor {
        guard Platform.hasAbstractNames else {
            throw UpgradeError(
                .invalidAddress, "\(address): this system has no abstract names", cure: "Use a path.", serving: .nobody
            )
        }
        guard let socketAddress = UnixAddress(abstract: name) else {
            throw UpgradeError(
                .invalidAddress,
                "\(address): a name of \(name.utf8.count) bytes; the system has room for 1 to \(Platform.unixPathLimit)",
                cure: "Use a shorter name.", serving: .nobody
            )
        }
        return try self.wording(address) { () throws(BindingError) in
            try self.make(AF_UNIX, Platform.type(kind), options) { number throws(SystemCallError) in
                try socketAddress.bind(number)
            }
        }
    }

    // MARK: Virtual machines

    private static func bindVirtual(
        _ contextID: UInt32?, _ port: UInt32, _ address: SocketAddress, _ options: ListenOptions
    ) throws(UpgradeError) -> OwnedDescriptor {
        try self.wording(address) { () throws(BindingError) in
            try self.make(tf_vsock_family(), Platform.stream, options) { number throws(SystemCallError) in
                try check("bind") { tf_bind_vsock(number, contextID ?? .max, port) }
            }
        }
    }
}

extension UpgradeError {
    fileprivate static func listen(_ address: SocketAddress, _ error: SystemCallError) -> UpgradeError {
        switch error.number {
        // bind(2) follows none, also where nobody listens behind it.
        case EADDRINUSE where address.unixPath.map(FileAccess.isSymbolicLink) == true:
            UpgradeError(
                .addressInUse, "\(address) is taken: \(error)",
                cure: "What is there is a symbolic link: name what it leads to, or remove the link.", serving: .nobody
            )
        case EADDRINUSE where address.unixPath.map(FileAccess.isOtherThanSocket) == true:
            UpgradeError(
                .addressInUse, "\(address) is taken: \(error)",
                cure: "What is there is no socket: move it away, or give the socket another path.", serving: .nobody
            )
        case EADDRINUSE:
            UpgradeError(
                .addressInUse, "\(address) is taken: \(error)",
                cure: address.unixPath == nil
                    ? "Another program listens there; `ss -lntup` (Linux) or `lsof -i` shows which."
                    : "Another program listens there; `ss -lxp` (Linux) or `lsof -U` shows which.", serving: .nobody
            )
        case EPERM where error.call == "chown":
            UpgradeError(
                .listenFailed, "\(address) may not be given to its owner: \(error)",
                cure: "Only root gives files away, and others to a group of their own alone: look at unixOwner.",
                serving: .nobody
            )
        case EACCES, EPERM:
            UpgradeError(
                .listenFailed, "\(address) may not be bound: \(error)",
                cure: "A port below 1024 wants CAP_NET_BIND_SERVICE; a path wants a writable directory.",
                serving: .nobody
            )
        case EAFNOSUPPORT, EPROTONOSUPPORT, EOPNOTSUPP, ENODEV:
            UpgradeError(
                .listenFailed, "\(address) is a kind of socket that this system does not have: \(error)",
                serving: .nobody
            )
        case EADDRNOTAVAIL:
            UpgradeError(
                .listenFailed, "\(address) is not an address of this machine: \(error)", serving: .nobody
            )
        case ENOENT, ENOTDIR:
            UpgradeError(
                .listenFailed, "\(address) cannot be listened on: \(error)", cure: "Create its directory first.",
                serving: .nobody
            )
        default: UpgradeError(.listenFailed, "\(address) cannot be listened on: \(error)", serving: .nobody)
        }
    }
}
