// Every page, narrow and wide, light and dark: axe finds nothing, nothing scrolls sideways, and a picture is kept.

import { axe, close, noSidewaysScroll, open, same, sound } from '../lib.mjs'

const SCHEMES = ['light', 'dark']

/** One load of each page; what differs by width and scheme is only what the style sheet makes of it. */
export async function looksOf(browser, world, cookies, pages) {
  const page = await open(browser, world, { cookies })
  for (const [name, path, status = 200] of pages) {
    await page.setViewportSize({ width: 1440, height: 900 })
    const answer = await page.goto(path)
    same(answer.status(), status, `status of ${path}`)
    await sound(page)
    await noSidewaysScroll(page)
    for (const scheme of SCHEMES) {
      await page.emulateMedia({ colorScheme: scheme })
      await axe(page)
      await page.screenshot({ path: `${world.pictures}/${name}-1440-${scheme}.png`, fullPage: true })
    }
    await page.setViewportSize({ width: 360, height: 740 })
    await noSidewaysScroll(page)
    await page.screenshot({ path: `${world.pictures}/${name}-360-dark.png`, fullPage: true })
    await page.emulateMedia({ colorScheme: 'light' })
    await axe(page)
    await page.screenshot({ path: `${world.pictures}/${name}-360-light.png`, fullPage: true })
  }
  await close(page)
}
