// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import CTableflip
import Logging
public import TableflipCore
public import TableflipSystem

/// What reaches every generation. Names are unique among everything that is carried, whatever its kind.
extension Upgrader {
    // MARK: Listening

    /// A socket on this address: the predecessor's, if it had one under this name, else bound anew.
    ///
    /// To be called before ``ready()``. What was inherited and has not been asked for by then is closed.
    /// - Parameters:
    ///   - address: where to listen.
    ///   - name: what the socket is known by across upgrades; by default the address in words. Needed where two sockets
    ///     ask for the same address. An inherited one keeps its address, whatever is asked for under its name: the log warns
    ///     of it, and ``Listener/address`` is where it is.
    ///   - options: how a new socket is bound. An inherited one is brought to them when this process becomes the owner,
    ///     as far as the kernel lets that be done; the log says what cannot be changed.
    /// - Returns: the socket, listening: its accept queue fills from here on.
    /// - Throws: ``UpgradeError`` with the code `addressInUse`, `listenFailed`, `invalidAddress`,
    ///   `invalidConfiguration`, `duplicateName`, or `wrongMoment` after ``ready()``.
    public func listen(
        on address: SocketAddress, name: String? = nil, options: ListenOptions = .init()
    ) throws(UpgradeError) -> Listener {
        let directory = self.context.directory
        let listener = try self.listen(on: address, name: name, backlog: options.backlog) {
            entry throws(UpgradeError) in
            if options.reusesPort { try self.context.sockets.checkJoinsNoGroup(entry, address, from: directory) }
            return try BoundSocket.bind(address, options, from: directory)
        }
        if listener.isInherited { listener.socket.want(options) }
        return listener
    }

    /// As ``listen(on:name:options:)``, for a socket that only the caller knows how to make.
    /// - Parameters:
    ///   - address: where it will listen.
    ///   - name: what it is known by across upgrades; by default the address in words.
    ///   - binding: makes the socket, bound and listening, close-on-exec. It is called only if none was inherited; the
    ///     upgrader owns what it returns, and makes it non-blocking.
    /// - Returns: the socket.
    /// - Throws: ``UpgradeError``: what `binding` throws, `listenFailed` if it is no such socket, `duplicateName`, or
    ///   `wrongMoment` after ``ready()``.
    public func listen(
        on address: SocketAddress, name: String? = nil, binding: () throws(UpgradeError) -> OwnedDescriptor
    ) throws(UpgradeError) -> Listener {
        try self.listen(on: address, name: name, backlog: nil) { _ throws(UpgradeError) in
            let made = try binding()
            try Self.checkMade(made.borrowed, is: address.descriptorKind, "\(address)")
            return made
        }
    }

    private func listen(
        on address: SocketAddress, name: String?, backlog: Int32?,
        binding: (InventoryEntry) throws(UpgradeError) -> OwnedDescriptor
    ) throws(UpgradeError) -> Listener {
        try self.context.facts.telling { () throws(UpgradeError) in
            let entry = try Self.entry(
                name ?? address.description, address.descriptorKind, address: address.description)
            let path = entry.unixPath(from: self.context.directory)
            if let relative = address.unixPath, !relative.hasPrefix("/"),
                let other = self.context.configuration.successor.directory(otherThan: self.context.directory)
            {
                throw .lookedForElsewhere("the path of \(entry.name)", relative, other)
            }
            let socket = try self.context.sockets.descriptor(for: entry, unixPath: path) { () throws(UpgradeError) in
                do throws(UpgradeError) {
                    return try binding(entry)
                } catch {
                    throw self.knowing(error, at: address)
                }
            }
            return self.listener(socket, askedFor: address, backlog: backlog)
        }
    }

    /// Whoever has the address may be the predecessor.
    private func knowing(_ error: UpgradeError, at address: SocketAddress) -> UpgradeError {
        guard error.code == .addressInUse,
            let (name, isClaimed) = self.context.sockets.inheritedName(boundTo: address, from: self.context.directory)
        else { return error }
        return UpgradeError(
            .addressInUse, "\(address) is what the predecessor has under the name \(name)",
            cure: isClaimed
                ? "Give the new one another address. Sockets share a port only if all are bound with reusesPort, also the "
                    + "first: stop and start the service to change that."
                : "Ask for it under that name, or keep the name."
        )
    }

    /// An inherited socket is where the predecessor has bound it, whatever is asked for.
    private func listener(_ socket: CarriedDescriptor, askedFor asked: SocketAddress, backlog: Int32?) -> Listener {
        guard let kept = SocketAddress(socket.entry.address), kept != asked else {
            return Listener(socket, address: asked, backlog: backlog)
        }
        let isAnyPort =
            switch asked.kind {
            case .tcp(_, 0, _), .udp(_, 0, _): true
            default: false
            }
        // The same place may have many words.
        let name = socket.withDescriptor { $0.flatMap(BoundSocket.name) }
        let names = BoundSocket.names(of: asked, from: self.context.directory)
        let isThere = isAnyPort || name.map { BoundSocket.isPlace($0, among: names) } ?? false
        if !isThere {
            self.logger.warning(
                "an inherited socket keeps its address: give the new one another name",
                metadata: ["socket": "\(socket.name)", "address": "\(kept)", "asked": "\(asked)"]
            )
        }
        return Listener(socket, address: kept, backlog: backlog)
    }

    /// The predecessor's socket on this address; never binds one.
    /// - Parameters:
    ///   - address: where it listens.
    ///   - name: what it is known by; by default the address in words.
    /// - Returns: the socket, or nil if there was none.
    /// - Throws: ``UpgradeError`` with the code `duplicateName`, `invalidAddress` (the name), or `wrongMoment` after
    ///   ``ready()``.
    public func inherited(_ address: SocketAddress, name: String? = nil) throws(UpgradeError) -> Listener? {
        try self.context.facts.telling { () throws(UpgradeError) in
            let entry = try Self.entry(
                name ?? address.description, address.descriptorKind, address: address.description)
            return try self.context.sockets.inherited(entry).map {
                self.listener($0, askedFor: address, backlog: nil)
            }
        }
    }

    // MARK: Everything else with a descriptor

    /// The predecessor's descriptor of this name and kind.
    /// - Parameters:
    ///   - kind: what it is.
    ///   - name: what it is known by.
    /// - Returns: the descriptor, or nil if there was none.
    /// - Throws: ``UpgradeError`` with the code `duplicateName` (also if it is of another kind), `invalidAddress` (the name),
    ///   or `wrongMoment` after ``ready()``.
    public func inherited(_ kind: DescriptorKind, name: String) throws(UpgradeError) -> CarriedDescriptor? {
        try self.context.facts.telling { () throws(UpgradeError) in
            try self.context.sockets.inherited(try Self.entry(name, kind))
        }
    }

    /// Everything of this kind that was inherited and has not been asked for, in the order in which it was carried.
    /// - Parameter kind: what it is.
    /// - Returns: the descriptors; they count as asked for.
    /// - Throws: ``UpgradeError`` with the code `wrongMoment` after ``ready()``.
    public func allInherited(_ kind: DescriptorKind) throws(UpgradeError) -> [CarriedDescriptor] {
        try self.context.facts.telling { () throws(UpgradeError) in try self.context.sockets.allInherited(kind) }
    }

    /// Carries a descriptor to every later generation: a listener or datagram socket made elsewhere, a connection, a
    /// file.
    ///
    /// It may be called at any time except while an upgrade runs. The caller goes on with duplicates. A listener or datagram
    /// socket is made non-blocking and must stay so: the flag is every duplicate's, and a successor sets it also where it
    /// fails and this process serves on. The file of a Unix socket that was made elsewhere is the caller's to remove;
    /// sockets of `listen` clean up after themselves.
    /// - Parameters:
    ///   - descriptor: the upgrader owns it from here on, also if this throws.
    ///   - kind: what it is.
    ///   - name: what it is known by across upgrades, 1 to 255 bytes.
    /// - Returns: the carried descriptor.
    /// - Throws: ``UpgradeError`` with the code `duplicateName`; `invalidAddress` (the name); `listenFailed` if it is not of
    ///   this kind, and `system` if it is not open; `invalidConfiguration` for a state; `wrongMoment` during an upgrade and
    ///   after one.
    @discardableResult
    public func carry(
        _ descriptor: consuming OwnedDescriptor, as kind: DescriptorKind, name: String
    ) throws(UpgradeError) -> CarriedDescriptor {
        let number = descriptor.borrowed
        let entry = try self.context.facts.telling { () throws(UpgradeError) in
            let entry = try Self.entry(name, kind)
            try Self.checkIsNoState(kind)
            try Self.checkMade(number, is: kind, name)
            return entry
        }
        return try self.context.sockets.add(entry, descriptor)
    }

    /// The predecessor's descriptor of this name and kind, or else a new one, which later generations get. A listener or
    /// datagram socket is non-blocking and must stay so, as with ``carry(_:as:name:)``.
    /// - Parameters:
    ///   - kind: what it is.
    ///   - name: what it is known by across upgrades, 1 to 255 bytes.
    ///   - make: makes it; the upgrader owns what it returns.
    /// - Returns: the carried descriptor.
    /// - Throws: ``UpgradeError``: as ``carry(_:as:name:)``, what `make` throws, or `wrongMoment` after ``ready()``.
    public func carry(
        _ kind: DescriptorKind, name: String, orMake make: () throws(UpgradeError) -> OwnedDescriptor
    ) throws(UpgradeError) -> CarriedDescriptor {
        try self.context.facts.telling { () throws(UpgradeError) in
            let entry = try Self.entry(name, kind)
            try Self.checkIsNoState(kind)
            return try self.context.sockets.descriptor(for: entry, unixPath: nil) { () throws(UpgradeError) in
                let made = try make()
                try Self.checkMade(made.borrowed, is: kind, name)
                return made
            }
        }
    }

    /// Carries it no further, such as a connection that has ended. While an upgrade runs it is carried until that has failed.
    ///
    /// To forget an inherited socket before ``ready()`` is as not to ask for it. What is forgotten later stays with a service
    /// manager that stores it until the service is stopped.
    /// - Parameter descriptor: what was carried; the upgrader's copy is closed with its last reference.
    public func forget(_ descriptor: CarriedDescriptor) { self.context.sockets.remove(descriptor) }

    // MARK: -

    static func entry(
        _ name: String, _ kind: DescriptorKind, address: String = ""
    ) throws(UpgradeError) -> InventoryEntry {
        guard !name.isEmpty, name.utf8.count <= WireLimit.name else {
            throw UpgradeError(
                .invalidAddress, "a name has 1 to \(WireLimit.name) bytes; \"\(name)\" has \(name.utf8.count)",
                cure: name.isEmpty ? "Give it one." : "Give it a shorter one, such as listen(on:name:).",
                serving: .nobody
            )
        }
        return InventoryEntry(name: name, kind: kind, address: address)
    }

    private static func checkIsNoState(_ kind: DescriptorKind) throws(UpgradeError) {
        guard kind == .state else { return }
        throw UpgradeError(
            .invalidConfiguration, "a state is not carried as a descriptor",
            cure: "Use leaveState(_:name:version:), or carry it as a file.", serving: .nobody
        )
    }

    /// What the application has made is from here on as in every later generation.
    private static func checkMade(_ number: CInt, is kind: DescriptorKind, _ name: String) throws(UpgradeError) {
        try self.check(number, is: kind, name)
        guard kind == .listener || kind == .datagram else { return }
        try self.makeNonBlocking(number, name, orThrow: .listenFailed)
    }

    /// The flag is the open description's, which other processes share: set, and never cleared.
    static func makeNonBlocking(
        _ number: CInt, _ name: String, orThrow code: UpgradeError.Code
    ) throws(UpgradeError) {
        _ = try UpgradeError.wrapping("\(name) cannot be made non-blocking", code) {
            () throws(SystemCallError) in try TableflipSystem.check("fcntl") { tf_set_nonblocking(number) }
        }
    }

    /// Bad descriptors are refused here: a successor would refuse the whole upgrade because of them.
    static func check(_ number: CInt, is kind: DescriptorKind, _ name: String) throws(UpgradeError) {
        let facts = try UpgradeError.wrapping("\(name) is a bad descriptor") { () throws(SystemCallError) in
            try DescriptorFacts(of: number)
        }
        guard facts.fits(kind) else {
            throw UpgradeError(
                .listenFailed, "\(name) is no \(kind)", cure: "Hand it over as what it is.", serving: .nobody
            )
        }
    }
}
