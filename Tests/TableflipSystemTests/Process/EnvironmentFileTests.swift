// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import TableflipCore
import TableflipSystem
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite struct EnvironmentFileTests {
    @Test(
        arguments: [
            ("", []), ("\n \t\n# A=1\n; B=2\n", []), ("A=1", ["A=1"]), ("A=1\nB=2\n", ["A=1", "B=2"]),
            ("  A = 1 2  \r\n", ["A=1 2"]), ("A=\nB=''\n", ["A=", "B="]), ("A='x \\ \"y'\n", ["A=x \\ \"y"]),
            ("A=\"x \\\" \\$HOME \\n\"\n", ["A=x \" $HOME \\n"]), ("A='x 'y\" z\"\n", ["A=x y\" z\""]),
            ("A=$HOME `x` #no\n", ["A=$HOME `x` #no"]), ("A=1 \\\n  2\n", ["A=1   2"]), ("A='1\n2'\n", ["A=1\n2"]),
            ("# x \\\nA=1\nB=2\n", ["A=1", "B=2"]), ("A=x\\ \n", ["A=x "]), ("A=1\nA=2\n", ["A=1", "A=2"]),
            ("A==1=\n", ["A==1="]), ("A='ü'\n", ["A=ü"]), ("A={\"a\":1}\n", ["A={\"a\":1}"]),
            ("A=don't panic\nB=x\nC=it's me\n", ["A=don't panic", "B=x", "C=it's me"]), ("A='x ' y\n", ["A=x y"]),
            ("A='a' 'b' \"c\"\n", ["A=abc"]), ("A= \\'x' y\n", ["A='x' y"]), ("A=\\\n'x'\n", ["A='x'"]),
            ("A=x \\\n \nB=1\n", ["A=x ", "B=1"]), ("A=x\\\r\nB=1\r\n", ["A=x", "B=1"]),
        ] as [(String, [String])]
    )
    func `variables are read as systemd reads them`(_ text: String, _ expected: [String]) throws {
        let variables = try EnvironmentFile.parse(Array(text.utf8))
        let words = variables.map { String(decoding: $0.name + [61] + ($0.value ?? []), as: UTF8.self) }
        #expect(words == expected)
    }

    @Test(
        arguments: [
            ("A", 1, "has no ="), ("A\nB=1", 1, "has no ="), ("B=1\n1A=2", 2, "no name"), ("A B=1", 1, "no name"),
            ("=1", 1, "no name"), ("export A=1", 1, "no name"), ("\n\nA='1\n2\n", 3, "does not end"),
            ("A=\"\\", 1, "does not end"), ("A=\0", 1, "zero byte"), ("A-B=1", 1, "no name"),
        ] as [(String, Int, String)]
    )
    func `what is none is told with its line`(_ text: String, _ line: Int, _ words: String) {
        let error = #expect(throws: EnvironmentFile.ParseError.self) {
            _ = try EnvironmentFile.parse(Array(text.utf8))
        }
        #expect(error?.line == line)
        #expect(error?.problem.contains(words) == true, "\(error?.problem ?? "")")
    }

    @Test func `a file that is no file is told by its path`() throws {
        for path in ["/no/such/file", "/dev"] {
            let error = try #require(throws: UpgradeError.self) { _ = try EnvironmentFile.read(path) }
            #expect(error.code == .invalidConfiguration && error.message.contains(path) && !error.cure.isEmpty)
        }
        let endless = try #require(throws: UpgradeError.self) { _ = try EnvironmentFile.read("/dev/zero") }
        #expect(endless.message.contains("/dev/zero"))
    }

    /// It would look like an empty one, and the upgrade like a success.
    @Test func `a pipe in which nothing is is told as such`() throws {
        let directory = try TemporaryDirectory()
        try #require(mkfifo(directory("service.env"), 0o600) == 0)
        let error = #expect(throws: UpgradeError.self) { try EnvironmentFile.read(directory("service.env")) }
        #expect(error?.code == .invalidConfiguration && error?.message.contains("is a pipe") == true)
        #expect(try EnvironmentFile.read("/dev/null").isEmpty)
    }

    @Test func `a variable is set in the place of every one of its name`() {
        var list = CStrings(["A=1", "AB=2", "A=3"].map { Array($0.utf8) })
        list.set((Array("A".utf8), Array("4".utf8)))
        #expect(list.texts == ["AB=2", "A=4"])
        list.set((Array("AB".utf8), nil))
        #expect(list.texts == ["A=4"])
    }
}
