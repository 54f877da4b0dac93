// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What the process in charge says of itself.
package struct ControlStatus: Hashable, Sendable {
    /// So many are told of: a reply has room for these.
    package static let mostListeners = 1000

    package struct Listener: Hashable, Sendable {
        package var name: String
        package var kind: String
        package var address: String
        /// What the kernel picked, or was asked for; 0 for what has none.
        package var port: Int
        package var isInherited: Bool

        /// How the names of control sockets begin, before the path.
        package static let controlPrefix = "tableflip-control:"
        package var isControl: Bool { self.name.hasPrefix(Self.controlPrefix) }

        package init(name: String, kind: String, address: String, port: Int, isInherited: Bool) {
            self.name = name
            self.kind = kind
            self.address = address
            self.port = port
            self.isInherited = isInherited
        }
    }

    package var generation: Int
    package var process: Int32
    /// 0: it has left, or there never was one.
    package var predecessor: Int32
    /// 0: no upgrade is running.
    package var successor: Int32
    /// `starting`, `serving`, `waiting` (an upgrade does, for the process before to leave), `upgrading` or the latest phase of
    /// a running upgrade, `unwinding` (it has failed), `draining`, `stopping`.
    package var state: String
    /// When this process started: milliseconds since 1970.
    package var since: Int64
    /// Now, by the same clock.
    package var time: Int64
    /// What the application calls its version.
    package var version: String
    package var program: String
    package var pidFile: String
    package var connections: Int
    package var listeners: [Listener]
    /// The last ones, oldest first.
    package var upgrades: [ControlRecord]

    package init(
        generation: Int, process: Int32, predecessor: Int32 = 0, successor: Int32 = 0, state: String, since: Int64,
        time: Int64, version: String = "", program: String = "", pidFile: String = "", connections: Int = 0,
        listeners: [Listener] = [], upgrades: [ControlRecord] = []
    ) {
        self.generation = generation
        self.process = process
        self.predecessor = predecessor
        self.successor = successor
        self.state = state
        self.since = since
        self.time = time
        self.version = version
        self.program = program
        self.pidFile = pidFile
        self.connections = connections
        self.listeners = listeners
        self.upgrades = upgrades
    }

    func write(to fields: inout ControlFields) {
        fields.set(.generation, Int64(self.generation))
        fields.set(.process, Int64(self.process))
        fields.set(.predecessor, Int64(self.predecessor))
        fields.set(.successor, Int64(self.successor))
        fields.set(.state, self.state)
        fields.set(.elapsed, self.since)
        fields.set(.time, self.time)
        fields.set(.version, self.version)
        fields.set(.program, self.program)
        fields.set(.pidFile, self.pidFile)
        fields.set(.connections, Int64(self.connections))
        for listener in self.listeners {
            var nested = ControlFields()
            nested.set(.name, listener.name)
            nested.set(.kind, listener.kind)
            nested.set(.address, listener.address)
            nested.set(.port, Int64(listener.port))
            nested.set(.isInherited, listener.isInherited ? 1 : 0)
            fields.append(.listener, nested)
        }
        for record in self.upgrades { fields.append(.upgrade, record.fields) }
    }

    init(_ fields: ControlFields) throws(WireError) {
        self.init(
            generation: try fields.count(.generation), process: try fields.process(.process),
            predecessor: try fields.process(.predecessor), successor: try fields.process(.successor),
            state: try fields.text(.state), since: try fields.milliseconds(.elapsed),
            time: try fields.milliseconds(.time), version: try fields.text(.version),
            program: try fields.text(.program), pidFile: try fields.text(.pidFile),
            connections: try fields.count(.connections)
        )
        for nested in try fields.all(.listener) {
            self.listeners.append(
                Listener(
                    name: try nested.text(.name), kind: try nested.text(.kind), address: try nested.text(.address),
                    port: try nested.count(.port), isInherited: try nested.number(.isInherited) == 1
                )
            )
        }
        for nested in try fields.all(.upgrade) { self.upgrades.append(try ControlRecord(nested)) }
    }
}

/// An upgrade that has ended.
package struct ControlRecord: Hashable, Sendable {
    /// When it was asked for: milliseconds since 1970.
    package var time: Int64
    /// The generation that it came from.
    package var generation: Int
    package var process: Int32
    package var successor: Int32
    /// From then until its outcome.
    package var milliseconds: Int64
    /// nil: it succeeded.
    package var failure: ControlFailure?

    package init(
        time: Int64, generation: Int, process: Int32, successor: Int32, milliseconds: Int64,
        failure: ControlFailure? = nil
    ) {
        self.time = time
        self.generation = generation
        self.process = process
        self.successor = successor
        self.milliseconds = milliseconds
        self.failure = failure
    }

    var fields: ControlFields {
        var fields = ControlFields()
        fields.set(.time, self.time)
        fields.set(.generation, Int64(self.generation))
        fields.set(.process, Int64(self.process))
        fields.set(.successor, Int64(self.successor))
        fields.set(.elapsed, self.milliseconds)
        self.failure?.write(to: &fields)
        return fields
    }

    init(_ fields: ControlFields) throws(WireError) {
        self.init(
            time: try fields.milliseconds(.time), generation: try fields.count(.generation),
            process: try fields.process(.process), successor: try fields.process(.successor),
            milliseconds: try fields.milliseconds(.elapsed),
            failure: fields.bytes(.code) == nil ? nil : try ControlFailure(fields)
        )
    }
}
