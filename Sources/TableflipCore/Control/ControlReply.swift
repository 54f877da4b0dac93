// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What the process in charge tells a client.
package enum ControlReply: Hashable, Sendable {
    /// The request is understood and goes on; more follows. From this process.
    case accepted(generation: Int, process: Int32)
    case event(ControlEvent)
    /// Last: what was asked for has been done.
    case done
    /// Last: it has not.
    case failed(ControlFailure)
    /// Last.
    case status(ControlStatus)
    /// Last: what a dry run found.
    case findings([ControlFinding])
    /// From a newer process, marked as something that may be passed over.
    case unknown(kind: UInt8)

    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case accepted = 0x61
        case event = 0x62
        case done = 0x63
        case failed = 0x64
        case status = 0x65
        case findings = 0x66
    }

    /// Nothing follows it.
    package var isLast: Bool {
        switch self {
        case .accepted, .event, .unknown: false
        case .done, .failed, .status, .findings: true
        }
    }

    package var kind: UInt8 {
        switch self {
        case .accepted: Kind.accepted.rawValue
        case .event: Kind.event.rawValue
        case .done: Kind.done.rawValue
        case .failed: Kind.failed.rawValue
        case .status: Kind.status.rawValue
        case .findings: Kind.findings.rawValue
        case .unknown(let kind): kind
        }
    }

    package var frame: ControlFrame {
        var fields = ControlFields(kind: self.kind)
        switch self {
        case .accepted(let generation, let process):
            fields.set(.generation, Int64(generation))
            fields.set(.process, Int64(process))
        case .event(let event): event.write(to: &fields)
        case .failed(let failure): failure.write(to: &fields)
        case .status(let status): status.write(to: &fields)
        case .findings(let findings):
            for finding in findings {
                var nested = ControlFields()
                finding.write(to: &nested)
                fields.append(.finding, nested)
            }
        case .done, .unknown: break
        }
        return ControlFrame(kind: self.kind, fields: fields)
    }

    package init(_ frame: ControlFrame) throws(WireError) {
        guard let kind = Kind(rawValue: frame.kind) else {
            guard frame.isOptional else { throw .unknownRequired(kind: frame.kind) }
            self = .unknown(kind: frame.kind)
            return
        }
        let fields = frame.fields
        switch kind {
        case .accepted:
            self = .accepted(generation: try fields.count(.generation), process: try fields.process(.process))
        case .event: self = .event(try ControlEvent(fields))
        case .done: self = .done
        case .failed: self = .failed(try ControlFailure(fields))
        case .status: self = .status(try ControlStatus(fields))
        case .findings:
            var findings: [ControlFinding] = []
            for nested in try fields.all(.finding) { findings.append(try ControlFinding(nested)) }
            self = .findings(findings)
        }
    }
}

/// Why not, in the words of ``UpgradeError``.
package struct ControlFailure: Hashable, Sendable {
    package var code: String
    package var message: String
    package var cure: String
    /// Who serves now: `predecessor`, `successor`, `nobody`.
    package var serving: String
    /// The new process had begun to serve.
    package var isRollback: Bool

    package init(
        code: String, message: String, cure: String = "", serving: String = "predecessor", isRollback: Bool = false
    ) {
        self.code = code
        self.message = message
        self.cure = cure
        self.serving = serving
        self.isRollback = isRollback
    }

    package init(_ error: UpgradeError) {
        self.init(
            code: error.code.description, message: error.message, cure: error.cure, serving: error.serving.rawValue,
            isRollback: error.isRollback
        )
    }

    func write(to fields: inout ControlFields) {
        fields.set(.code, self.code)
        fields.set(.message, self.message)
        fields.set(.cure, self.cure)
        fields.set(.serving, self.serving)
        if self.isRollback { fields.set(.isRollback, 1) }
    }

    init(_ fields: ControlFields) throws(WireError) {
        self.code = try fields.text(.code)
        self.message = try fields.text(.message)
        self.cure = try fields.text(.cure)
        self.serving = try fields.text(.serving)
        self.isRollback = try fields.number(.isRollback) == 1
    }
}

/// Something that happened in one process, or how far something has come.
package struct ControlEvent: Hashable, Sendable {
    /// The name of an ``UpgradeEvent/Phase``, or of a progress: `handingOver`, `moving`.
    package var phase: String
    package var generation: Int
    /// Whose event it is, and the other process.
    package var process: Int32
    package var peer: Int32
    /// In a predecessor's phases since the upgrade was asked for, in all others since the upgrader of their process was made.
    package var elapsedNanoseconds: Int64
    /// Milliseconds since 1970.
    package var time: Int64
    /// How many of how many, for a progress; the total of `probation` is how many milliseconds it lasts.
    package var done: Int?
    package var total: Int?
    package var failure: ControlFailure?

    package init(
        phase: String, generation: Int, process: Int32, peer: Int32 = 0, elapsedNanoseconds: Int64 = 0, time: Int64 = 0,
        done: Int? = nil, total: Int? = nil, failure: ControlFailure? = nil
    ) {
        self.phase = phase
        self.generation = generation
        self.process = process
        self.peer = peer
        self.elapsedNanoseconds = elapsedNanoseconds
        self.time = time
        self.done = done
        self.total = total
        self.failure = failure
    }

    func write(to fields: inout ControlFields) {
        fields.set(.phase, self.phase)
        fields.set(.generation, Int64(self.generation))
        fields.set(.process, Int64(self.process))
        fields.set(.peer, Int64(self.peer))
        fields.set(.elapsed, self.elapsedNanoseconds)
        fields.set(.time, self.time)
        fields.set(.done, self.done.map { Int64($0) })
        fields.set(.total, self.total.map { Int64($0) })
        self.failure?.write(to: &fields)
    }

    init(_ fields: ControlFields) throws(WireError) {
        self.phase = try fields.text(.phase)
        self.generation = try fields.count(.generation)
        self.process = try fields.process(.process)
        self.peer = try fields.process(.peer)
        self.elapsedNanoseconds = try fields.nanoseconds(.elapsed)
        self.time = try fields.milliseconds(.time)
        self.done = fields.bytes(.done) == nil ? nil : try fields.count(.done)
        self.total = fields.bytes(.total) == nil ? nil : try fields.count(.total)
        self.failure = fields.bytes(.code) == nil ? nil : try ControlFailure(fields)
    }
}

/// One thing that a dry run looked at.
package struct ControlFinding: Hashable, Sendable {
    package var name: String
    /// Whether an upgrade would get past it.
    package var isGood: Bool
    package var message: String

    package init(_ name: String, isGood: Bool, _ message: String) {
        self.name = name
        self.isGood = isGood
        self.message = message
    }

    func write(to fields: inout ControlFields) {
        fields.set(.name, self.name)
        fields.set(.done, self.isGood ? 1 : 0)
        fields.set(.message, self.message)
    }

    init(_ fields: ControlFields) throws(WireError) {
        self.name = try fields.text(.name)
        self.isGood = try fields.number(.done) == 1
        self.message = try fields.text(.message)
    }
}
