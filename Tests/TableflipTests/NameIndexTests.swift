// SPDX-License-Identifier: Apache-2.0
// Copyright (c) the swift-tableflip authors

import Testing

@testable import Tableflip

@Suite struct NameIndexTests {
    @Test(arguments: [0, 20_000])
    func `thousands of names are found again, whatever room was made before`(_ reserved: Int) {
        var index = NameIndex()
        index.reserve(reserved)
        let names = (0..<10_000).map { "file \($0)" } + ["", "é", String(repeating: "x", count: 255)]
        let wereNew = names.enumerated().map { index.insert($1, $0) }
        #expect(!wereNew.contains(false))
        let found = names.map { index[$0] }
        #expect(found == Array(names.indices))
        #expect(index["file 10000"] == nil)
    }

    @Test func `a name is put in once`() {
        var index = NameIndex()
        #expect(index["a"] == nil)
        let wereNew = [1, 2].map { index.insert("a", $0) }
        #expect(wereNew == [true, false])
        #expect(index["a"] == 1)
    }

    @Test func `a name that was taken out can be put in again, and hides no other`() {
        var index = NameIndex()
        for number in 0..<100 { _ = index.insert("\(number)", number) }
        let evens = Array(stride(from: 0, to: 100, by: 2))
        let removed = evens.map { index.remove("\($0)") }
        #expect(removed == evens)
        let again = ["0", "no such name"].map { index.remove($0) }
        #expect(again == [nil, nil])
        for number in 0..<100 { #expect(index["\(number)"] == (number % 2 == 0 ? nil : number)) }
        let isNew = index.insert("0", 500)
        #expect(isNew)
        for number in 100..<1000 { _ = index.insert("\(number)", number) }
        #expect(index["0"] == 500 && index["2"] == nil && index["999"] == 999)
    }
}
