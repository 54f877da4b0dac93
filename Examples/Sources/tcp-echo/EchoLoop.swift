// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Synchronization
import Tableflip

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// Polls the listener, while this process is the one that accepts, and its connections. What the upgrader wants of it
/// comes as orders, through a pipe that is polled as well.
final class EchoLoop: AdoptingReader {
    enum Leaving {
        case now
        case whenConnectionsHaveGone
    }

    private enum Order {
        case accept
        case pause
        case move(ConnectionExporter)
        case moved(Result<Void, UpgradeError>)
        case serve([LiveDescriptor])
        case leave(Leaving)
    }

    private struct Orders {
        var waiting: [(Order, CheckedContinuation<Void, Never>)] = []
        var loopHasEnded = false
    }

    private let listener: OwnedDescriptor
    private let name: String
    private let wakeUp: (reader: CInt, writer: CInt)
    private let orders = Mutex(Orders())

    init(_ listener: Listener) throws {
        self.listener = try listener.duplicate()
        self.name = listener.name
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { throw UpgradeError(.system, "pipe: \(String(cString: strerror(errno)))") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        self.wakeUp = (ends[0], ends[1])
    }

    // MARK: As a reader, from any task

    var listenerName: String? { self.name }
    func pause() async { await self.give(.pause) }
    func resume() async { await self.give(.accept) }
    func export(to successor: ConnectionExporter) async { await self.give(.move(successor)) }
    func adopt(_ connections: [LiveDescriptor]) async { await self.give(.serve(connections)) }
    func leave(_ leaving: Leaving) async { await self.give(.leave(leaving)) }

    /// Returns when it has been carried out.
    private func give(_ order: Order) async {
        await withCheckedContinuation { done in
            let isTooLate = self.orders.withLock { orders in
                if !orders.loopHasEnded { orders.waiting.append((order, done)) }
                return orders.loopHasEnded
            }
            if isTooLate { return done.resume() }
            _ = write(self.wakeUp.writer, "x", 1)
        }
    }

    // MARK: The loop

    /// Serves until this process is to leave and its connections have ended or moved.
    func run() {
        /// What was read from each and has not been sent back yet.
        var connections: [CInt: [UInt8]] = [:]
        var accepts = false
        var leaving: Leaving?
        var successor: ConnectionExporter?
        var isMoving = false
        var allHaveMoved: CheckedContinuation<Void, Never>?

        while leaving != .now && (leaving == nil || !connections.isEmpty || isMoving) {
            // The orders come first: what poll(2) said of the listener may no longer be wanted.
            var polled = [pollfd(fd: self.wakeUp.reader, events: Int16(POLLIN), revents: 0)]
            if accepts { polled.append(pollfd(fd: self.socket, events: Int16(POLLIN), revents: 0)) }
            for (connection, unsent) in connections {
                // A client that does not read is not read from.
                polled.append(pollfd(fd: connection, events: Int16(unsent.isEmpty ? POLLIN : POLLOUT), revents: 0))
            }
            guard poll(&polled, nfds_t(polled.count), -1) > 0 else { continue }

            for entry in polled where entry.revents != 0 {
                if let unsent = connections[entry.fd] {
                    connections[entry.fd] = self.serve(entry.fd, unsent)
                } else if entry.fd == self.wakeUp.reader {
                    for (order, done) in self.takeOrders() {
                        switch order {
                        case .accept: accepts = true
                        case .pause: accepts = false
                        case .leave(let how): leaving = how
                        case .serve(let arrived):
                            for descriptor in arrived.compactMap({ $0.takeDescriptor()?.release() }) {
                                connections[descriptor] = []
                            }
                        case .move(let exporter):
                            exporter.announce(connections.count)
                            successor = exporter
                            allHaveMoved = done
                            continue
                        case .moved(let result):
                            isMoving = false
                            // If the successor is gone, they are served here to their end.
                            if case .failure = result { successor = nil }
                        }
                        done.resume()
                    }
                } else if accepts, let connection = self.acceptConnection() {
                    connections[connection] = []
                }
            }

            // Who has been sent everything back can move. Nobody reads from it meanwhile.
            let movable = connections.filter(\.value.isEmpty).keys
            if let successor, !isMoving, !movable.isEmpty {
                isMoving = true
                for connection in movable { connections[connection] = nil }
                self.move(Array(movable), to: successor)
            }
            if successor == nil || connections.isEmpty && !isMoving {
                allHaveMoved?.resume()
                allHaveMoved = nil
            }
        }
        allHaveMoved?.resume()
        for connection in connections.keys { close(connection) }
        self.endOrders()
    }

    private var socket: CInt { self.listener.withBorrowed { $0 } }

    private func acceptConnection() -> CInt? {
        let connection = accept(self.socket, nil, nil)
        guard connection >= 0 else { return nil }
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        _ = fcntl(connection, F_SETFL, O_NONBLOCK)
        return connection
    }

    /// - Returns: what has not been sent back; nil at its end.
    private func serve(_ connection: CInt, _ unsent: [UInt8]) -> [UInt8]? {
        var bytes = unsent
        if bytes.isEmpty {
            bytes = [UInt8](repeating: 0, count: 16_384)
            let count = recv(connection, &bytes, bytes.count, 0)
            if count < 0, errno == EAGAIN || errno == EINTR { return [] }
            guard count > 0 else {
                close(connection)
                return nil
            }
            bytes.removeSubrange(count...)
        }
        let count = send(connection, bytes, bytes.count, 0)
        if count < 0, errno != EAGAIN, errno != EINTR {
            close(connection)
            return nil
        }
        return Array(bytes.dropFirst(max(0, count)))
    }

    private func move(_ connections: [CInt], to successor: ConnectionExporter) {
        let travellers = connections.map {
            LiveDescriptor(takingOwnershipOf: OwnedDescriptor(takingOwnershipOf: $0), listener: self.name)
        }
        Task {
            var result = Result<Void, UpgradeError>.success(())
            do throws(UpgradeError) {
                try await successor.send(travellers)
            } catch {
                result = .failure(error)
                await self.give(.serve(travellers))
            }
            await self.give(.moved(result))
        }
    }

    private func takeOrders() -> [(Order, CheckedContinuation<Void, Never>)] {
        var bytes = [UInt8](repeating: 0, count: 64)
        _ = read(self.wakeUp.reader, &bytes, bytes.count)
        return self.orders.withLock { orders in
            defer { orders.waiting = [] }
            return orders.waiting
        }
    }

    private func endOrders() {
        let late = self.orders.withLock { orders in
            orders.loopHasEnded = true
            defer { orders.waiting = [] }
            return orders.waiting
        }
        for (_, done) in late { done.resume() }
    }
}
