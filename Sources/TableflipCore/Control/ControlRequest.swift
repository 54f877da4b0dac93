// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

/// What a client asks of the process in charge: once for each connection.
package enum ControlRequest: Hashable, Sendable {
    case status
    case watch
    case upgrade(ControlOrder)
    case check(ControlOrder)
    /// As `check`, and by starting the program: as far as ready, and back.
    case rehearse(ControlOrder)
    case commit
    case rollback
    case stop

    package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
        case status = 0x41
        case watch = 0x42
        case upgrade = 0x43
        case check = 0x44
        case commit = 0x45
        case rollback = 0x46
        case stop = 0x47
        case rehearse = 0x48
    }

    package var kind: Kind {
        switch self {
        case .status: .status
        case .watch: .watch
        case .upgrade: .upgrade
        case .check: .check
        case .rehearse: .rehearse
        case .commit: .commit
        case .rollback: .rollback
        case .stop: .stop
        }
    }

    /// The word for it, as `tableflipctl` takes it and logs print it.
    package var name: String { "\(self.kind)" }

    package var frame: ControlFrame {
        var fields = ControlFields(kind: self.kind.rawValue)
        switch self {
        case .upgrade(let order), .check(let order), .rehearse(let order):
            fields.set(.timeout, order.timeoutMilliseconds)
            fields.set(.probation, order.probationMilliseconds)
            fields.set(.executable, order.executable ?? "")
            fields.set(.environmentFile, order.environmentFile ?? "")
        default: break
        }
        return ControlFrame(kind: self.kind.rawValue, fields: fields)
    }

    package init(_ frame: ControlFrame) throws(WireError) {
        guard let kind = Kind(rawValue: frame.kind) else { throw .unknownRequired(kind: frame.kind) }
        self =
            switch kind {
            case .status: .status
            case .watch: .watch
            case .upgrade: .upgrade(try ControlOrder(frame))
            case .check: .check(try ControlOrder(frame))
            case .rehearse: .rehearse(try ControlOrder(frame))
            case .commit: .commit
            case .rollback: .rollback
            case .stop: .stop
            }
    }
}

/// How an upgrade is to be made this once; nil: as configured.
package struct ControlOrder: Hashable, Sendable {
    package var timeoutMilliseconds: Int64?
    package var probationMilliseconds: Int64?
    package var executable: String?
    package var environmentFile: String?

    package init(
        timeoutMilliseconds: Int64? = nil, probationMilliseconds: Int64? = nil, executable: String? = nil,
        environmentFile: String? = nil
    ) {
        self.timeoutMilliseconds = timeoutMilliseconds
        self.probationMilliseconds = probationMilliseconds
        self.executable = executable
        self.environmentFile = environmentFile
    }

    fileprivate init(_ frame: ControlFrame) throws(WireError) {
        let day = Int64(WireLimit.probationMilliseconds)
        self.timeoutMilliseconds = try frame.fields.number(.timeout)
        self.probationMilliseconds = try frame.fields.number(.probation)
        guard (1...ControlLimit.timeoutMilliseconds).contains(self.timeoutMilliseconds ?? 1) else {
            throw .invalidValue(kind: frame.kind, field: "timeout")
        }
        guard (0...day).contains(self.probationMilliseconds ?? 0) else {
            throw .invalidValue(kind: frame.kind, field: "probation")
        }
        let executable = try frame.fields.text(.executable)
        let environmentFile = try frame.fields.text(.environmentFile)
        self.executable = executable.isEmpty ? nil : executable
        self.environmentFile = environmentFile.isEmpty ? nil : environmentFile
        guard !(executable + environmentFile).utf8.contains(0) else {
            throw .invalidValue(kind: frame.kind, field: "path")
        }
    }
}
