// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import ArgumentParser
import TableflipCore

/// Runs the body of a command, and says how it ended.
enum Report {
    static func of(_ options: CommonOptions, _ body: () throws(CtlError) -> Void) throws {
        do throws(CtlError) {
            try body()
        } catch {
            if options.json, error.outcome != .outputFailed {
                self.line(
                    .object([
                        ("type", .text("error")), ("exit", .number(Int64(error.outcome.rawValue))),
                        ("code", .text(error.code)), ("message", .text(error.message)), ("cure", .text(error.cure)),
                    ])
                )
            } else {
                Surroundings.write("tableflipctl: \(error.words.printable)\n", to: 2)
            }
            throw ExitCode(error.outcome.rawValue)
        }
    }

    static func line(_ json: JSON) { Surroundings.write(json.line + "\n") }
}

/// Colours, where they are wanted.
enum Colour: String {
    case green = "32"
    case red = "31"
    case yellow = "33"
    case faint = "2"
    case bold = "1"

    func paint(_ text: String) -> String {
        Surroundings.usesColour ? "\u{1b}[\(self.rawValue)m\(text)\u{1b}[0m" : text
    }
}

extension String {
    /// A service's words as a terminal only prints them: what would command it, or begin another line, shows as U+FFFD.
    var printable: String {
        String(String.UnicodeScalarView(self.unicodeScalars.map { $0.isControl ? "\u{FFFD}" : $0 }))
    }

    /// Filled with spaces at its end, or its start.
    func padded(to width: Int, right: Bool = false) -> String {
        let spaces = String(repeating: " ", count: max(0, width - self.count))
        return right ? spaces + self : self + spaces
    }

    /// At most so many columns; what is cut shows.
    func cut(toWidth width: Int) -> String { self.count <= width ? self : String(self.prefix(max(0, width - 1))) + "…" }
}

extension Unicode.Scalar {
    var isControl: Bool { self.properties.generalCategory == .control }
}

extension Int64 {
    /// Milliseconds as `0.412 s`.
    var asSeconds: String {
        let digits = String(self % 1000)
        return "\(self / 1000)." + String(repeating: "0", count: 3 - digits.count) + digits + " s"
    }

    /// Milliseconds as `2 h 3 min`, `14 s`.
    var asAge: String {
        let seconds = self / 1000
        return switch seconds {
        case ..<60: "\(Swift.max(0, seconds)) s"
        case ..<3600: "\(seconds / 60) min \(seconds % 60) s"
        case ..<86_400: "\(seconds / 3600) h \(seconds % 3600 / 60) min"
        default: "\(seconds / 86_400) d \(seconds % 86_400 / 3600) h"
        }
    }
}
