// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What goes to the next process beside a client's connection: what it waits for, and what it has not been told yet.
package struct ControlState: Hashable, Sendable {
    package enum Mode: String, Hashable, Sendable, CaseIterable {
        /// It has not said a whole request.
        case silent
        case watching
        /// It waits for the end of an upgrade, up to the end of the old process.
        case upgrading
        /// It has been told everything.
        case answered
    }

    package var mode: Mode
    package var unsent: [UInt8]
    /// How long it still has to say what it wants, or to read its answer: no new deadline for a new process. nil: it waits.
    package var patienceMilliseconds: Int64?

    private static let kind: UInt8 = 0x51

    package init(mode: Mode, unsent: [UInt8], patienceMilliseconds: Int64? = nil) {
        self.mode = mode
        self.unsent = unsent
        self.patienceMilliseconds = patienceMilliseconds
    }

    package func encoded() -> [UInt8] {
        var fields = ControlFields(kind: Self.kind)
        fields.set(.mode, self.mode.rawValue)
        fields.set(.unsent, self.unsent)
        fields.set(.elapsed, self.patienceMilliseconds)
        return ControlFrame(kind: Self.kind, fields: fields).encoded()
    }

    package init(reading bytes: [UInt8]) throws(WireError) {
        var decoder = ControlDecoder(limit: ControlLimit.reply)
        decoder.append(bytes[...])
        guard let frame = try decoder.next(), frame.kind == Self.kind, decoder.pending.isEmpty,
            let mode = Mode(rawValue: try frame.fields.text(.mode))
        else { throw .invalidValue(kind: Self.kind, field: "mode") }
        self.mode = mode
        self.unsent = frame.fields.bytes(.unsent) ?? []
        self.patienceMilliseconds = try frame.fields.number(.elapsed)
    }
}

/// What one process leaves to the next of the upgrades that have been, and of the one that begins.
package struct ControlHistory: Hashable, Sendable {
    package static let limit = 16
    private static let kind: UInt8 = 0x52

    package var records: [ControlRecord] = []
    /// When the upgrade was asked for by which the reader of this came to be: milliseconds since 1970.
    package var began: Int64 = 0

    package init() {}

    package mutating func append(_ record: ControlRecord) {
        self.records.append(record)
        if self.records.count > Self.limit { self.records.removeFirst(self.records.count - Self.limit) }
    }

    package func encoded() -> [UInt8] {
        var fields = ControlFields(kind: Self.kind)
        fields.set(.time, self.began)
        for record in self.records { fields.append(.upgrade, record.fields) }
        return ControlFrame(kind: Self.kind, fields: fields).encoded()
    }

    package init(reading bytes: [UInt8]) throws(WireError) {
        var decoder = ControlDecoder(limit: ControlLimit.reply)
        decoder.append(bytes[...])
        guard let frame = try decoder.next(), frame.kind == Self.kind, decoder.pending.isEmpty else {
            throw .invalidValue(kind: Self.kind, field: "kind")
        }
        self.began = try frame.fields.milliseconds(.time)
        for nested in try frame.fields.all(.upgrade) { self.append(try ControlRecord(nested)) }
    }
}
