// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore

/// What is written with --json: one object a line (RFC 8259).
enum JSON {
    case text(String)
    case number(Int64)
    case seconds(Double)
    case flag(Bool)
    case list([JSON])
    case object([(String, JSON)])

    var line: String {
        switch self {
        case .text(let text): Self.quoted(text)
        case .number(let number): "\(number)"
        case .seconds(let seconds): "\((seconds * 1e6).rounded() / 1e6)"
        case .flag(let flag): flag ? "true" : "false"
        case .list(let all): "[" + all.map(\.line).joined(separator: ",") + "]"
        case .object(let fields):
            "{" + fields.map { "\(Self.quoted($0)):\($1.line)" }.joined(separator: ",") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _ where scalar.isControl:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension ControlEvent {
    var json: JSON {
        var fields: [(String, JSON)] = [
            ("type", .text("event")), ("phase", .text(self.phase)), ("generation", .number(Int64(self.generation))),
            ("pid", .number(Int64(self.process))), ("peer", .number(Int64(self.peer))),
            ("seconds", .seconds(Double(self.elapsedNanoseconds) / 1e9)), ("time", .number(self.time)),
        ]
        if let done { fields.append(("done", .number(Int64(done)))) }
        if let total { fields.append(("total", .number(Int64(total)))) }
        if let failure { fields.append(("error", failure.json)) }
        return .object(fields)
    }
}

extension ControlFailure {
    var json: JSON {
        .object([
            ("code", .text(self.code)), ("message", .text(self.message)), ("cure", .text(self.cure)),
            ("serving", .text(self.serving)),
        ])
    }
}

extension ControlFinding {
    var json: JSON {
        .object([
            ("type", .text("finding")), ("name", .text(self.name)), ("good", .flag(self.isGood)),
            ("message", .text(self.message)),
        ])
    }
}

extension ControlStatus {
    var json: JSON {
        .object([
            ("type", .text("status")), ("state", .text(self.state)), ("generation", .number(Int64(self.generation))),
            ("pid", .number(Int64(self.process))), ("predecessor", .number(Int64(self.predecessor))),
            ("successor", .number(Int64(self.successor))), ("since", .number(self.since)), ("time", .number(self.time)),
            ("version", .text(self.version)), ("program", .text(self.program)), ("pidFile", .text(self.pidFile)),
            ("connections", .number(Int64(self.connections))),
            (
                "listeners",
                .list(
                    self.listeners.map {
                        .object([
                            ("name", .text($0.name)), ("kind", .text($0.kind)), ("address", .text($0.address)),
                            ("port", .number(Int64($0.port))), ("inherited", .flag($0.isInherited)),
                        ])
                    }
                )
            ),
            ("upgrades", .list(self.upgrades.map(\.json))),
        ])
    }
}

extension ControlRecord {
    var json: JSON {
        var fields: [(String, JSON)] = [
            ("time", .number(self.time)), ("generation", .number(Int64(self.generation))),
            ("pid", .number(Int64(self.process))), ("successor", .number(Int64(self.successor))),
            ("seconds", .seconds(Double(self.milliseconds) / 1e3)), ("succeeded", .flag(self.failure == nil)),
        ]
        if let failure { fields.append(("error", failure.json)) }
        return .object(fields)
    }
}
