// Part of libtamis.so only, never of a program that imports the Swift modules (Package.swift).
#pragma once
