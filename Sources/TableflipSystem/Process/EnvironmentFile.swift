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

/// read(2), out of the reach of methods of that name.
private func systemRead(_ descriptor: CInt, _ buffer: UnsafeMutableRawPointer, _ size: Int) -> Int {
    read(descriptor, buffer, size)
}

/// A file of variables, in the form of systemd's `EnvironmentFile=` (systemd.exec(5)): `NAME=value` lines, comments that
/// begin with `#` or `;`, values that begin with single or double quotes, a backslash before what is meant literally,
/// and a backslash at the end of a line to go on in the next. No variable is expanded.
package enum EnvironmentFile {
    package typealias Variable = (name: [UInt8], value: [UInt8]?)

    private static let sizeLimit = 1 << 20

    /// Reads and parses the file.
    package static func read(_ path: String) throws(UpgradeError) -> [Variable] {
        let bytes: [UInt8]
        do throws(SystemCallError) {
            bytes = try self.contents(of: path)
        } catch {
            throw UpgradeError(
                .invalidConfiguration, "the environment file \(path) cannot be read: \(error)",
                cure: "Create it, make it readable to this process, and keep it below a mebibyte."
            )
        }
        if bytes.isEmpty, FileAccess.isPipe(path) {
            throw UpgradeError(
                .invalidConfiguration, "the environment file \(path) is a pipe in which nothing is",
                cure: "Give it a file: it is read anew at each upgrade."
            )
        }
        do throws(ParseError) {
            return try self.parse(bytes)
        } catch {
            throw UpgradeError(
                .invalidConfiguration, "the environment file \(path), line \(error.line): \(error.problem)",
                cure: "Write one NAME=value a line."
            )
        }
    }

    private static func contents(of path: String) throws(SystemCallError) -> [UInt8] {
        // Non-blocking: a pipe of that name must not stop the engine.
        let file = OwnedDescriptor(
            takingOwnershipOf: try check("open") { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) }
        )
        let number = file.borrowed
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = systemRead(number, &buffer, buffer.count)
            guard count >= 0 else { throw SystemCallError("read") }
            if count == 0 { return bytes }
            bytes += buffer[..<count]
            guard bytes.count <= self.sizeLimit else { throw SystemCallError("read", EFBIG) }
        }
    }

    package struct ParseError: Error, Hashable {
        package var line: Int
        package var problem: String
    }

    package static func parse(_ bytes: [UInt8]) throws(ParseError) -> [Variable] {
        var parser = Parser(bytes)
        return try parser.all()
    }

    private struct Parser {
        private let bytes: [UInt8]
        private var position = 0
        private var line = 1

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        private static let newline = UInt8(ascii: "\n")
        private static let backslash = UInt8(ascii: "\\")

        private var next: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

        private mutating func take() -> UInt8? {
            guard let byte = self.next else { return nil }
            self.position += 1
            if byte == Self.newline { self.line += 1 }
            return byte
        }

        mutating func all() throws(ParseError) -> [Variable] {
            var variables: [Variable] = []
            while let byte = self.next {
                switch byte {
                case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"), Self.newline: _ = self.take()
                case UInt8(ascii: "#"), UInt8(ascii: ";"): self.skipLine()
                default: variables.append(try self.variable())
                }
            }
            return variables
        }

        private mutating func skipLine() {
            // Since systemd 254 a backslash at its end does not make it go on.
            while let byte = self.take(), !Self.endsLine(byte) {}
        }

        private mutating func variable() throws(ParseError) -> Variable {
            let start = self.line
            var name: [UInt8] = []
            while self.next != UInt8(ascii: "=") {
                guard let byte = self.take(), !Self.endsLine(byte) else {
                    // Not the words: who may ask for an upgrade may not be one who may read the file.
                    throw ParseError(line: start, problem: "it has no =")
                }
                name.append(byte)
            }
            _ = self.take()
            while name.last.map(Self.isSpace) == true { name.removeLast() }
            guard Self.isName(name) else {
                let text = String(decoding: name, as: UTF8.self)
                throw ParseError(line: start, problem: "\"\(text)\" is no name of a variable")
            }
            let value = try self.value()
            guard !value.contains(0) else { throw ParseError(line: start, problem: "the value has a zero byte in it") }
            return (name, value)
        }

        private mutating func value() throws(ParseError) -> [UInt8] {
            var value: [UInt8] = []
            // Space at the end does not count, unless it was quoted.
            var length = 0
            // Quotation marks are such at the start and behind a quotation; space between those does not count.
            var isBare = false
            while let byte = self.take(), !Self.endsLine(byte) {
                switch byte {
                case UInt8(ascii: "'") where !isBare, UInt8(ascii: "\"") where !isBare:
                    try self.quoted(until: byte, into: &value)
                    length = value.count
                case Self.backslash:
                    isBare = true
                    if let escaped = self.take(), !Self.endsLine(escaped) { value.append(escaped) }
                    length = value.count
                case _ where Self.isSpace(byte):
                    if isBare { value.append(byte) }
                default:
                    isBare = true
                    value.append(byte)
                    length = value.count
                }
            }
            return Array(value[..<length])
        }

        private mutating func quoted(until quote: UInt8, into value: inout [UInt8]) throws(ParseError) {
            let start = self.line
            while let byte = self.take() {
                if byte == quote { return }
                guard byte == Self.backslash, quote == UInt8(ascii: "\"") else {
                    value.append(byte)
                    continue
                }
                guard let escaped = self.take() else { break }
                // As in a shell: only these mean something else behind a backslash.
                switch escaped {
                case Self.newline: break
                case quote, Self.backslash, UInt8(ascii: "$"), UInt8(ascii: "`"): value.append(escaped)
                default: value += [byte, escaped]
                }
            }
            throw ParseError(line: start, problem: "a quotation that does not end")
        }

        private static func isSpace(_ byte: UInt8) -> Bool {
            byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
        }

        private static func endsLine(_ byte: UInt8) -> Bool { byte == Self.newline || byte == UInt8(ascii: "\r") }

        private static func isName(_ name: [UInt8]) -> Bool {
            guard let first = name.first, !(48...57).contains(first) else { return false }
            return name.allSatisfy { byte in
                byte == UInt8(ascii: "_") || (48...57).contains(byte) || (65...90).contains(byte)
                    || (97...122).contains(byte)
            }
        }
    }
}

extension CStrings {
    /// Sets a variable in a list such as `environ`, or removes it.
    package mutating func set(_ variable: EnvironmentFile.Variable) {
        let prefix = variable.name + [UInt8(ascii: "=")]
        self.strings.removeAll { $0.starts(with: prefix) }
        if let value = variable.value { self.strings.append(prefix + value) }
    }
}
